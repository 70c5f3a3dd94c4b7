"""What the charms of a process share, as one table: what is watched, how it is read and put back.

A charm replaces a function of a library, or sets something for the whole process; the next one of
its space is not to meet that. `shared_state` compares and puts back, and says when.

To watch something more, add a row to `WATCHED`: `attributes` for names of a module, `setting` for
what is read by one function and set by another, `collection` for a list or dict that is changed in
place, `Watched` for everything else. Reading is done after each run: it has to be cheap, and may
give the living object, since it is compared by `==` with what `keep` made of it. A row counts once
its module is loaded, and loads none. One without `put_back` costs the worker.
"""

from __future__ import annotations

import locale as locale_module
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import update_wrapper
from itertools import islice
from operator import attrgetter, methodcaller
from types import ModuleType
from typing import Any, Final

from bg_charm_service.workers.protocol.processes import set_handler

#: Stands for what is not there.
MISSING: Final = object()

#: What the environment is kept in. Compared as bytes: decoding it takes as long as a short run.
_ENVIRON: Final[dict[bytes, bytes]] = vars(os.environ)["_data"]

#: Those of a run's own limits are set for each run.
_SIGNALS: Final = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD),
)
_HANDLERS: Final = ", ".join(f"{{of}}.getsignal({number:d})" for number in _SIGNALS)


def as_it_is(value: Any) -> Any:
    """Keep the value itself: nobody changes it in place."""
    return value


def adopt(kept: Any, before: Any, after: Any) -> Any:
    """Give what is kept from now on: a library changed `before` into `after` when it was loaded.

    It does so once, for all charms: what it added to a list or dict is added, what it replaced is
    replaced, unless the charm has its own there.
    """
    if kept == before:
        return after
    if isinstance(kept, tuple) and len(kept) == len(before) == len(after):
        changes = zip(kept, before, after, strict=True)
        return tuple(adopt(*change) for change in changes)
    if isinstance(kept, list):
        added = [one for one in after if one not in before and one not in kept]
        return [*added, *kept] if after[len(after) - len(before) :] == before else [*kept, *added]
    if isinstance(kept, dict):
        changed = {key for key in after if before.get(key, MISSING) != after[key]}
        its_own = {key for key in changed if kept.get(key, MISSING) != before.get(key, MISSING)}
        return kept | {key: after[key] for key in changed - its_own}
    return kept


def refuse(kept: Any, _before: Any, _after: Any) -> Any:
    """Keep what was: a library has no business with it, and loses nothing."""
    return kept


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """One thing that charms share: how it is read, `keep(what was read)`, `put_back(module, kept)`.

    `read` is an expression in which `{of}` stands for the module; or a function of the module.
    `adopt` says what becomes of it when a library changes it while it is loaded. What `repeats` is
    put back before each run of a class whose module set it, since it changes by being used. What
    `settles` is taken as it is once it was put back, whatever has been added.
    """

    name: str
    module: str
    read: str | Callable[[Any], Any]
    put_back: Callable[[Any, Any], None] | None
    keep: Callable[[Any], Any] = as_it_is
    adopt: Callable[[Any, Any, Any], Any] = adopt
    #: Is done to the module once, before it is read for the first time.
    prepare: Callable[[Any], None] = as_it_is
    repeats: bool = False
    settles: bool = False


def attributes(module: str, *names: str, replaces: bool = False) -> Watched:
    """Watch names of a module, or of classes in it (`JSONEncoder.default`), by what they stand for.

    With `replaces`, what was changed cannot be put back by itself.
    """
    read = "".join(f"{{of}}.{name}, " for name in names)

    def put_back(of: ModuleType, kept: tuple[Any, ...]) -> None:
        for name, value in zip(names, kept, strict=True):
            way, _, last = name.rpartition(".")
            owner = attrgetter(way)(of) if way else of
            if getattr(owner, last, MISSING) is not value:
                setattr(owner, last, value)

    return Watched(f"names of {module}", module, f"({read})", None if replaces else put_back)


def setting(
    module: str, getter: str, setter: str, *, adopts: bool = True, spreads: bool = False
) -> Watched:
    """Watch what one function of a module gives and another sets; `spreads`: by many arguments."""

    def put_back(of: ModuleType, kept: Any) -> None:
        put = getattr(of, setter)
        put(*kept) if spreads else put(kept)

    how = adopt if adopts else refuse
    return Watched(f"{module}.{setter}", module, f"{{of}}.{getter}()", put_back, adopt=how)


def collection(module: str, name: str) -> Watched:
    """Watch a list or dict of a module that is changed in place."""

    def put_back(of: ModuleType, kept: list[Any] | dict[Any, Any]) -> None:
        one = getattr(of, name)
        one.clear()
        one.extend(kept) if isinstance(kept, list) else one.update(kept)

    return Watched(f"{module}.{name}", module, f"{{of}}.{name}", put_back, methodcaller("copy"))


def switch(module: str, getter: str, on: str, off: str) -> Watched:
    """Watch what is on or off."""

    def put_back(of: ModuleType, kept: bool) -> None:  # noqa: FBT001 - as it was read
        getattr(of, on if kept else off)()

    return Watched(f"{module}.{off}", module, f"{{of}}.{getter}()", put_back, adopt=refuse)


# --- what is asked by no function, and would take too long to look at: calls are noted


class NotedCall:
    """Stands in for a function of a module, and notes that it was called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        #: What it was called for; None while it was not.
        self.noted: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.function(*args, **kwargs)
        self.note(args)
        return result

    def note(self, _args: tuple[Any, ...]) -> None:
        """Note a call that went well."""
        self.noted = object()


class _NotedLocale(NotedCall):
    """Notes which locale was set; asking for it takes as long as much else together."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.noted = function(locale_module.LC_ALL, None)

    def note(self, args: tuple[Any, ...]) -> None:
        if len(args) > 1 and args[1] is not None:
            self.noted = self.function(locale_module.LC_ALL, None)


def _note_calls(of: ModuleType, *names: str, kind: type[NotedCall] = NotedCall) -> None:
    for name in names:
        function = getattr(of, name)
        if not isinstance(function, NotedCall):
            setattr(of, name, kind(function))


def noted(name: str, module: str, *functions: str) -> Watched:
    """Watch calls that a process cannot take back."""

    def prepare(of: ModuleType) -> None:
        _note_calls(of, *functions)

    read = "".join(f"{{of}}.{function}.noted, " for function in functions)
    return Watched(name, module, f"({read})", None, adopt=refuse, prepare=prepare)


def _put_locale_back(of: Any, kept: str) -> None:
    of._setlocale(locale_module.LC_ALL, kept)


def seeded(module: str, seed: str, get_state: str, set_state: str) -> Watched:
    """Watch whether the generator of a module was seeded: its next numbers are known then."""

    def prepare(of: ModuleType) -> None:
        _note_calls(of, seed, set_state)

    def keep(noted: tuple[Any, Any]) -> _Seeded:
        is_seeded = noted != (None, None)
        return _Seeded(noted, getattr(sys.modules[module], get_state)() if is_seeded else None)

    def put_back(of: ModuleType, kept: _Seeded) -> None:
        calls = getattr(of, seed), getattr(of, set_state)
        if kept.state is None:
            calls[0].function()
        else:
            calls[1].function(kept.state)
        for call, noted in zip(calls, kept, strict=True):
            call.noted = noted

    read = f"({{of}}.{seed}.noted, {{of}}.{set_state}.noted)"
    return Watched(f"{module}.{seed}", module, read, put_back, keep, refuse, prepare, repeats=True)


class _Seeded(tuple[Any, Any]):
    """The calls by which a generator was seeded, and its state then; None where it was not."""

    state: Any

    def __new__(cls, noted: tuple[Any, Any], state: Any) -> _Seeded:
        one = super().__new__(cls, noted)
        one.state = state
        return one


# --- what takes more than a name


def _read_environ(_: ModuleType) -> dict[bytes, bytes]:
    # Of the object that all modules have imported, whatever stands in its place.
    return _ENVIRON


def _put_environ_back(of: ModuleType, kept: dict[bytes, bytes]) -> None:
    of.environb.clear()
    of.environb.update(kept)
    # The clock's zone may have been among it.
    time.tzset()


def _put_trace_limit_back(of: Any, kept: Any) -> None:
    if kept is MISSING:
        del of.tracebacklimit
    else:
        of.tracebacklimit = kept


class Modules(int):
    """How many modules are loaded, and which, in parts.

    A part is made of those that have come since, and never again of all: whoever so much as looks
    at a module has its page of the zygote's memory copied.
    """

    parts: tuple[dict[str, ModuleType], ...] = ()


class LastModules:
    """Those that were seen last."""

    kept = Modules()


def _keep_modules(count: int) -> Modules:
    last = LastModules.kept
    if count != last:
        # They come in this order, and what is removed leaves it.
        new = islice(reversed(sys.modules.items()), max(0, count - last))
        kept = Modules(count)
        kept.parts = (*last.parts, dict(new))
        LastModules.kept = kept
    return LastModules.kept


def _adopt_modules(_kept: Modules, _before: Modules, after: Modules) -> Modules:
    return after


def _put_modules_back(of: Any, kept: Modules) -> None:
    for part in kept.parts:
        of.modules.update(part)


def _put_faults_back(of: ModuleType, kept: bool) -> None:  # noqa: FBT001 - as it was read
    if kept:
        # The standard streams of a worker are no files.
        of.enable(2, all_threads=False)
    else:
        of.disable()


#: Whatever else is found there was put there for all modules, by `gettext.install` for one.
_NAMES_OF_BUILTINS: Final = frozenset(vars(sys.modules["builtins"]))


class _Names(int):
    """How many names all modules have, and which of them are no part of Python."""

    more: dict[str, Any]


def _keep_names(count: int) -> _Names:
    every = vars(sys.modules["builtins"])
    kept = _Names(count)
    more = every.keys() - _NAMES_OF_BUILTINS if count != len(_NAMES_OF_BUILTINS) else ()
    kept.more = {name: every[name] for name in more}
    return kept


def _put_names_back(of: ModuleType, kept: _Names) -> None:
    for name in vars(of).keys() - _NAMES_OF_BUILTINS - kept.more.keys():
        delattr(of, name)
    vars(of).update(kept.more)


def _put_handlers_back(_: ModuleType, kept: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, kept, strict=True):
        if handler is not None:
            set_handler(number, handler)


def _put_filters_back(of: ModuleType, kept: list[Any]) -> None:
    # Tells the machinery that they are others; putting them into the list would not.
    of.resetwarnings()
    of.filters[:] = kept


#: A logger as it is made: level, propagates, is disabled, filters, handlers. Each of these is
#: followed by its own level, its formatter, and its filters.
_PLAIN_LOGGER: Final[tuple[Any, ...]] = (0, True, False, [], [])


def _read_logging(of: Any) -> dict[str, Any]:
    """Give all loggers that are not as they were made, and what counts for all of them."""
    root, holder = of.root, of.PlaceHolder
    found = {"disable": root.manager.disable, "root": _logger_state(root)}
    for name, one in root.manager.loggerDict.items():
        if one.__class__ is not holder and (
            one.level or one.handlers or one.filters or one.disabled or not one.propagate
        ):
            found["." + name] = _logger_state(one)
    return found


def _logger_state(one: Any) -> tuple[Any, ...]:
    handlers: list[Any] = []
    for it in one.handlers:
        handlers += (it, it.level, it.formatter, it.filters)
    return one.level, one.propagate, one.disabled, one.filters, handlers


def _keep_logging(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: state if name == "disable" else (*state[:3], state[3][:], _keep_handlers(state[4]))
        for name, state in found.items()
    }


def _keep_handlers(handlers: list[Any]) -> list[Any]:
    return [one.copy() if isinstance(one, list) else one for one in handlers]


def _put_logging_back(of: Any, kept: dict[str, Any]) -> None:
    loggers = of.root.manager.loggerDict
    wanted = {one for name in kept.keys() - {"disable"} for one in kept[name][-1][::4]}
    dropped: set[Any] = set()
    for name, one in ("root", of.root), *((f".{name}", one) for name, one in loggers.items()):
        if isinstance(one, of.Logger):
            level, propagate, disabled, filters, handlers = kept.get(name, _PLAIN_LOGGER)
            one.level, one.propagate, one.disabled = level, propagate, disabled
            one.filters[:] = filters
            dropped.update(set(one.handlers) - wanted)
            one.handlers[:] = handlers[::4]
            for number in range(0, len(handlers), 4):
                it, it.level, it.formatter, it.filters = handlers[number : number + 4]
                it.filters = it.filters.copy()
    for handler in dropped:
        # One that writes to a file holds it open.
        with suppress(Exception):
            handler.close()
    # Which levels are enabled is cached by each logger; this empties all of these.
    of.disable(kept["disable"])


_CORE: Final = ", ".join(
    f"{{of}}.logger._core.{name}"
    for name in ("handlers", "extra", "patcher", "activation_list", "levels")
)


def _keep_core(read: tuple[Any, ...]) -> tuple[Any, ...]:
    handlers, extra, patcher, activations, levels = read
    return handlers.copy(), extra.copy(), patcher, activations.copy(), levels.copy()


def _put_core_back(of: Any, kept: tuple[Any, ...]) -> None:
    core = of.logger._core
    handlers, extra, core.patcher, activations, levels = kept
    for number in core.handlers.keys() - handlers.keys():
        # Ends what it has: files, threads.
        with suppress(Exception):
            of.logger.remove(number)
    for handler in handlers.values():
        handler._stopped = False
    core.handlers = handlers.copy()
    core.handlers_count = max(handlers, default=-1) + 1
    core.min_level = min((one.levelno for one in handlers.values()), default=float("inf"))
    core.extra.clear()
    core.extra.update(extra)
    core.activation_list[:] = activations
    core.enabled.clear()
    for name in core.levels.keys() - levels.keys():
        core.levels_ansi_codes.pop(name, None)
        core.levels_lookup.pop(name, None)
    core.levels = levels.copy()


def _keep_structlog(read: tuple[bool, dict[str, Any]]) -> tuple[bool, dict[str, Any]]:
    return read[0], read[1] | {"processors": list(read[1]["processors"])}


def _put_structlog_back(of: Any, kept: tuple[bool, dict[str, Any]]) -> None:
    if kept[0]:
        of.configure(**_keep_structlog(kept)[1])
    else:
        of.reset_defaults()


def _put_printing_back(of: Any, kept: dict[str, Any]) -> None:
    of.set_printoptions(**kept)


def _put_errors_back(of: Any, kept: dict[str, Any]) -> None:
    of.seterr(**kept)


def _keep_options(tree: dict[str, Any]) -> dict[str, Any]:
    """Copy a tree of dicts."""
    return {
        name: _keep_options(one) if isinstance(one, dict) else one for name, one in tree.items()
    }


def _put_options_back(of: Any, kept: dict[str, Any], way: str = "") -> None:
    for name, value in kept.items():
        if isinstance(value, dict):
            _put_options_back(of, value, f"{way}{name}.")
        elif of.get_option(way + name) != value:
            of.set_option(way + name, value)


def _put_parameters_back(of: Any, kept: list[Any]) -> None:
    # As its own `rc_context` does: they were checked before.
    dict.update(of.rcParams, zip(list(dict.keys(of.rcParams)), kept, strict=True))


def _keep_none(_count: int) -> int:
    # One that a module made can still be drawn on and saved: it is not the current one any more.
    return 0


def _close_figures(of: Any, _kept: int) -> None:
    of.close("all")


#: All that is watched. Which charm's it is: see `shared_state`.
WATCHED: Final[Collection[Watched]] = (
    # Functions and classes that are replaced by those of a charm: what libraries replace, and what
    # would harm most. What a charm's own file assigns is found in its source: `assigned_names`.
    attributes("builtins", "print", "open", "input", "__import__"),
    Watched(
        "names of all modules",
        "builtins",
        "len({of}.__dict__)",
        _put_names_back,
        _keep_names,
        refuse,
    ),
    attributes("time", "time", "sleep"),
    attributes("datetime", "datetime"),
    attributes("subprocess", "Popen"),
    attributes("tempfile", "tempdir"),
    attributes("json", "dumps", "loads", "JSONEncoder.default"),
    # The network.
    attributes("socket", "socket", "create_connection", "getaddrinfo"),
    setting("socket", "getdefaulttimeout", "setdefaulttimeout"),
    attributes("ssl", "SSLContext", "_create_default_https_context"),
    attributes(
        *("http.client", "HTTPConnection", "HTTPSConnection", "HTTPConnection.debuglevel"),
        *("HTTPConnection.connect", "HTTPConnection.request", "HTTPConnection.putrequest"),
        *("_MAXHEADERS", "_MAXLINE"),
    ),
    attributes("urllib.request", "_opener", "urlopen", "getproxies", "proxy_bypass"),
    attributes("urllib3.util.ssl_", "SSLContext", "create_urllib3_context"),
    attributes("urllib3.util.connection", "create_connection", "allowed_gai_family", "HAS_IPV6"),
    attributes(
        *("requests.sessions", "Session", "Session.request", "Session.send"),
        "Session.merge_environment_settings",
    ),
    # What is written, and what is warned of.
    attributes("sys", "stdin", "stdout", "stderr"),
    Watched("logging", "logging", _read_logging, _put_logging_back, _keep_logging),
    attributes(
        "logging",
        "raiseExceptions",
        "lastResort",
        "_loggerClass",
        "_logRecordFactory",
        "_warnings_showwarning",
    ),
    Watched("loguru", "loguru", f"({_CORE})", _put_core_back, _keep_core),
    Watched(
        "structlog",
        "structlog",
        "({of}.is_configured(), {of}.get_config())",
        _put_structlog_back,
        _keep_structlog,
    ),
    Watched(
        "warnings.filters",
        "warnings",
        "{of}.filters",
        _put_filters_back,
        methodcaller("copy"),
    ),
    attributes("warnings", "showwarning", "formatwarning"),
    attributes("sys", "excepthook", "unraisablehook", "displayhook"),
    Watched(
        "sys.tracebacklimit",
        "sys",
        "{of}.__dict__.get('tracebacklimit', MISSING)",
        _put_trace_limit_back,
    ),
    attributes(
        *("threading", "excepthook", "Thread.start", "Thread.run", "_trace_hook", "_profile_hook"),
    ),
    # The interpreter.
    collection("sys", "path"),
    collection("sys", "meta_path"),
    collection("sys", "path_hooks"),
    collection("sys", "argv"),
    Watched(
        *(
            "sys.modules",
            "sys",
            "len({of}.modules)",
            _put_modules_back,
            _keep_modules,
            _adopt_modules,
        ),
        settles=True,
    ),
    setting("sys", "getrecursionlimit", "setrecursionlimit"),
    setting("sys", "getswitchinterval", "setswitchinterval"),
    setting("sys", "get_int_max_str_digits", "set_int_max_str_digits"),
    setting("sys", "gettrace", "settrace", adopts=False),
    setting("sys", "getprofile", "setprofile", adopts=False),
    switch("gc", "isenabled", "enable", "disable"),
    setting("gc", "get_threshold", "set_threshold", spreads=True),
    switch("tracemalloc", "is_tracing", "start", "stop"),
    Watched("faulthandler", "faulthandler", "{of}.is_enabled()", _put_faults_back, adopt=refuse),
    # The process.
    attributes("os", "environ", "environb"),
    Watched("os.environ", "os", _read_environ, _put_environ_back, methodcaller("copy")),
    setting("os", "getcwd", "chdir"),
    Watched("signal.signal", "_signal", f"[{_HANDLERS}]", _put_handlers_back),
    Watched(
        "locale.setlocale",
        "locale",
        "{of}._setlocale.noted",
        _put_locale_back,
        adopt=refuse,
        prepare=lambda of: _note_calls(of, "_setlocale", kind=_NotedLocale),
    ),
    seeded("random", "seed", "getstate", "setstate"),
    noted("limits of its own", "resource", "setrlimit", "prlimit"),
    noted("a priority of its own", "os", "nice", "setpriority", "sched_setaffinity"),
    attributes("asyncio", "sleep"),
    # `nest_asyncio` and its like: they note for themselves that they are in place.
    attributes("asyncio", "run", "Task", "get_event_loop", replaces=True),
    # Threads and locks have become those of gevent: another charm would wait for them for ever.
    Watched("what gevent patched", "gevent.monkey", "len({of}.saved)", None, _keep_none, refuse),
    # Options of libraries.
    setting("csv", "field_size_limit", "field_size_limit"),
    collection("xml.etree.ElementTree", "_namespace_map"),
    Watched("numpy.seterr", "numpy", "{of}.geterr()", _put_errors_back),
    Watched("numpy.set_printoptions", "numpy", "{of}.get_printoptions()", _put_printing_back),
    seeded("numpy.random", "seed", "get_state", "set_state"),
    Watched(
        "options of pandas",
        "pandas",
        "{of}._config.config._global_config",
        _put_options_back,
        _keep_options,
    ),
    # As a dict it would look each of its values up by itself.
    Watched(
        *("matplotlib.rcParams", "matplotlib", "[*dict.values({of}.rcParams)]"),
        _put_parameters_back,
    ),
    Watched(
        *("open figures", "matplotlib.pyplot", "len({of}._pylab_helpers.Gcf.figs)"),
        *(_close_figures, _keep_none, refuse),
    ),
)
