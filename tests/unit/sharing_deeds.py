"""What a charm does to its process by accident, each with what it is seen by.

Run as a program it does each of them in a process of its own, as a run and as a class's module,
and prints as JSON what was not put back: `{"name": ["as a run", "as a module"]}`.
"""

from __future__ import annotations

import builtins
import csv
import datetime
import faulthandler
import gc
import http.client
import io
import json
import locale
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import urllib.request
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from loguru import logger

from bg_charm_service.workers.runtime.log_capture import prepare
from bg_charm_service.workers.runtime.shared_state import SharedState

#: As a charm would write it, and what it is seen by.
Deed = tuple[Callable[[], object], Callable[[], object]]


def replaced(owner: Any, name: str) -> Deed:
    """Replace a name by something else."""
    return lambda: setattr(owner, name, lambda *_: None), lambda: getattr(owner, name)


def another_locale() -> None:
    """Set one that this is not."""
    is_plain = locale.setlocale(locale.LC_ALL) == "C"
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if is_plain else "C")


def add_sinks() -> None:
    """Have errors only, and those elsewhere."""
    logger.remove()
    logger.add(io.StringIO(), level="ERROR")


def logger_of_a_library() -> logging.Logger:
    """One that is there before."""
    return logging.getLogger("test_shared_state.library")


def silence_a_library() -> None:
    """Do all to a logger that keeps it from writing."""
    one = logger_of_a_library()
    one.disabled, one.propagate = True, False
    one.setLevel(logging.ERROR)
    one.addHandler(logging.StreamHandler())
    one.addFilter(lambda _: False)


def look_at(one: logging.Logger) -> object:
    """Give all that counts for what it writes."""
    handlers = [(it, it.level, it.formatter, list(it.filters)) for it in one.handlers]
    return one.level, one.disabled, one.propagate, handlers, list(one.filters)


def lower_a_handler() -> None:
    """Do the same to the handlers of the root."""
    for handler in logging.root.handlers:
        handler.setLevel(logging.CRITICAL + 1)
        handler.setFormatter(logging.Formatter("%(levelname)s"))
        handler.addFilter(lambda _: False)


DEEDS: dict[str, Deed] = {
    "no TLS checks": replaced(ssl, "_create_default_https_context"),
    "another SSLContext": replaced(ssl, "SSLContext"),
    "an opener": (
        lambda: urllib.request.install_opener(urllib.request.build_opener()),
        lambda: urllib.request._opener,  # type: ignore[attr-defined]
    ),
    "http.client": replaced(http.client, "HTTPSConnection"),
    "debuglevel": (
        lambda: setattr(http.client.HTTPConnection, "debuglevel", 1),
        lambda: http.client.HTTPConnection.debuglevel,
    ),
    "getaddrinfo": replaced(socket, "getaddrinfo"),
    "socket": replaced(socket, "socket"),
    "default time-out": (lambda: socket.setdefaulttimeout(3), socket.getdefaulttimeout),
    "logging.disable": (
        lambda: logging.disable(logging.CRITICAL),
        lambda: logging.getLogger("test_shared_state").isEnabledFor(logging.CRITICAL),
    ),
    "root level": (
        lambda: logging.root.setLevel(logging.CRITICAL + 1),
        lambda: (logging.root.level, logging.root.isEnabledFor(logging.CRITICAL)),
    ),
    "basicConfig": (
        lambda: logging.basicConfig(force=True, stream=io.StringIO()),
        lambda: look_at(logging.root),
    ),
    "one handler more": (
        lambda: logging.getLogger("test_shared_state").addHandler(logging.StreamHandler()),
        lambda: look_at(logging.getLogger("test_shared_state")),
    ),
    "a library silenced": (silence_a_library, lambda: look_at(logger_of_a_library())),
    "handlers silenced": (lower_a_handler, lambda: look_at(logging.root)),
    "another class of loggers": (
        lambda: logging.setLoggerClass(type("Other", (logging.Logger,), {})),
        logging.getLoggerClass,
    ),
    "captured warnings": (lambda: logging.captureWarnings(True), lambda: warnings.showwarning),
    "loguru's sinks": (add_sinks, lambda: set(logger._core.handlers)),  # type: ignore[attr-defined]
    "loguru's levels": (
        lambda: logger.level("MINE", no=33),
        lambda: "MINE" in logger._core.levels,  # type: ignore[attr-defined]
    ),
    "loguru's extra": (
        lambda: logger.configure(extra={"mine": 1}),
        lambda: dict(logger._core.extra),  # type: ignore[attr-defined]
    ),
    "loguru off": (
        lambda: logger.disable("some"),
        lambda: list(logger._core.activation_list),  # type: ignore[attr-defined]
    ),
    "warnings as errors": (
        lambda: warnings.filterwarnings("error"),
        lambda: list(warnings.filters),
    ),
    "no warnings": (warnings.resetwarnings, lambda: list(warnings.filters)),
    "locale": (another_locale, lambda: locale.setlocale(locale.LC_ALL)),
    "sys.path": (lambda: sys.path.insert(0, "/mine"), lambda: list(sys.path)),
    "another sys.path": (lambda: setattr(sys, "path", ["/mine"]), lambda: list(sys.path)),
    "sys.argv": (lambda: sys.argv.append("--mine"), lambda: list(sys.argv)),
    "meta_path": (lambda: sys.meta_path.append(object()), lambda: list(sys.meta_path)),  # type: ignore[arg-type]
    "path_hooks": (lambda: sys.path_hooks.insert(0, lambda _: None), lambda: list(sys.path_hooks)),  # type: ignore[arg-type, return-value]
    "a module less": (lambda: sys.modules.pop("json"), lambda: sys.modules.get("json")),
    "excepthook": replaced(sys, "excepthook"),
    "unraisablehook": replaced(sys, "unraisablehook"),
    "no tracebacks": (
        lambda: setattr(sys, "tracebacklimit", 0),
        lambda: hasattr(sys, "tracebacklimit"),
    ),
    "stdout": (lambda: setattr(sys, "stdout", io.StringIO()), lambda: sys.stdout),
    "excepthook of threads": replaced(threading, "excepthook"),
    "print": replaced(builtins, "print"),
    "open": replaced(builtins, "open"),
    "a word for all": (lambda: setattr(builtins, "mine", 1), lambda: hasattr(builtins, "mine")),
    "sleep": replaced(time, "sleep"),
    "datetime": replaced(datetime, "datetime"),
    "Popen": replaced(subprocess, "Popen"),
    "tempdir": (lambda: setattr(tempfile, "tempdir", "/mine"), lambda: tempfile.tempdir),
    "json.dumps": replaced(json, "dumps"),
    "JSONEncoder.default": replaced(json.JSONEncoder, "default"),
    "recursion": (
        lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 99),
        sys.getrecursionlimit,
    ),
    "switch interval": (lambda: sys.setswitchinterval(1.0), sys.getswitchinterval),
    "digits": (lambda: sys.set_int_max_str_digits(0), sys.get_int_max_str_digits),
    "profile": (lambda: sys.setprofile(lambda *_: None), sys.getprofile),
    "trace of threads": (lambda: threading.settrace(lambda *_: None), threading.gettrace),
    "collector": (gc.disable, gc.isenabled),
    "thresholds": (lambda: gc.set_threshold(1), gc.get_threshold),
    "tracemalloc": (tracemalloc.start, tracemalloc.is_tracing),
    "faulthandler": (faulthandler.disable, faulthandler.is_enabled),
    "environ": (lambda: os.environ.update(MINE="1"), lambda: dict(os.environ)),
    "another environ": (lambda: setattr(os, "environ", {}), lambda: os.environ),
    "folder": (lambda: os.chdir("/"), os.getcwd),
    "signal": (
        lambda: signal.signal(signal.SIGUSR1, lambda *_: None),
        lambda: signal.getsignal(signal.SIGUSR1),
    ),
    "size of a csv field": (lambda: csv.field_size_limit(1), csv.field_size_limit),
    "namespaces": (
        lambda: ET.register_namespace("mine", "https://example.org/mine"),
        lambda: dict(ET._namespace_map),  # type: ignore[attr-defined]
    ),
}


#: A source that may change anything.
ANY = "import sys"

#: What no class can keep for itself.
NOT_KEPT = {"a module less"}


def as_a_run(shared: SharedState, name: str) -> str:
    """Do it three times, and say what is wrong with what is found then; empty for nothing."""
    do, look = DEEDS[name]
    before = look()
    for _ in range(3):
        do()
        if before == look():
            return "it changed nothing"
        left = shared.put_back()
        if left or before != look():
            return f"not put back: {left}"
    return ""


def as_a_module(shared: SharedState, name: str) -> str:
    """Do it while a class is loaded, and let that class and others take turns."""
    do, look = DEEDS[name]
    shared.begin_load(ANY)
    plain = shared.end_load()
    before = look()
    shared.begin_load(ANY)
    do()
    own, its_own = shared.end_load(), look()
    problems = [] if name in NOT_KEPT or before != its_own else ["it changed nothing"]
    for setup, expected in (own, its_own), (plain, before), (own, its_own), (own, its_own):
        shared.enter(setup)
        if name not in NOT_KEPT and expected != look():
            problems.append("own" if setup is own else "plain")
        problems += filter(None, [shared.put_back()])
    shared.enter(plain)
    if before != look():
        problems.append("at the end")
    return ", ".join(problems)


def attempt(do: Callable[[SharedState, str], str], shared: SharedState, name: str) -> str:
    """Say too what could not be done."""
    try:
        return do(shared, name)
    except Exception as error:
        return repr(error)


def main() -> None:
    """Do all of them, in the state in which a worker begins."""
    sys.stdout = sys.stderr = prepare()
    faulthandler.enable(2, all_threads=False)
    shared = SharedState()
    shared.begin_load(ANY)
    shared.end_load()
    found = {name: [attempt(do, shared, name) for do in (as_a_run, as_a_module)] for name in DEEDS}
    shared.end()
    print(json.dumps(found), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
