"""Which refusal an exception comes from, and whether a wall was it: a number alone proves nothing.

A number of the system counts where a wall is known to refuse what was tried: by the call that the
audit hook saw, a port that is not open, a path that is closed, the module that failed. Libraries
wrap what they catch, some in nothing but words: then the words have to name what a wall refuses.
Exceptions may do anything when they are asked. Used by the worker where a run or a source failed.
"""

from __future__ import annotations

import dis
import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.outcomes.refusals import SUBJECT_CHARACTERS, Refusal, RefusalKind
from bg_charm_service.workers.runtime.host_watch import Attempt, HostWatch
from bg_charm_service.workers.runtime.provider_faults import (
    is_of_several_addresses,
    is_tls,
    links_of,
    names_of,
)
from bg_charm_service.workers.sandbox import Wall, may_read

_REFUSED: Final = {errno.EPERM, errno.EACCES}
_REFUSED_WORDS: Final = tuple(os.strerror(number).lower() for number in sorted(_REFUSED))

#: What the C library says of a name that nobody could be asked about.
_NO_NAME_WORDS: Final = ("temporary failure in name resolution", "name or service not known")

#: Names are looked up there, and there is no port beyond the other.
_NAMES_PORT: Final = 53
_LAST_PORT: Final = 65535

#: What the folders of installed libraries end with, site-packages and dist-packages.
_INSTALLED: Final = "-packages/"

#: How a statement raises, and how an error comes out of what is waited for.
_HANDED_ON: Final = {dis.opmap[name] for name in ("RAISE_VARARGS", "SEND", "YIELD_VALUE")}

#: Modules of the standard library that are about one thing, which a wall refuses.
_MODULES: Final = {
    "subprocess": RefusalKind.PROGRAM,
    "pty": RefusalKind.PROGRAM,
    "concurrent.futures.process": RefusalKind.LOCK,
    "multiprocessing.synchronize": RefusalKind.LOCK,
    "multiprocessing.shared_memory": RefusalKind.MEMORY,
    "multiprocessing.heap": RefusalKind.MEMORY,
}
_PROCESSES: Final = "multiprocessing."

#: So much of a text is read, and so many values of an exception.
_MOST_CHARACTERS: Final = 20_000
_MOST_VALUES: Final = 100

#: What a text may name: a port, and a path between marks.
_PORTS: Final = re.compile(r"(?:\bport[ =:]+|(?<=[\w\]]):)(\d{1,5})\b")
_PATHS: Final = re.compile(r"""["'`](/[^"'`\n]{1,1000})["'`]""")

_CANNOT_OPEN: Final = "SQLITE_CANTOPEN"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a run: its walls, and its scratch directory."""

    walls: frozenset[Wall] = frozenset()
    scratch: str = ""

    def closes_port(self, port: int | None, limits: Limits) -> bool:
        """Whether a wall refuses connections to a port."""
        return Wall.NETWORK in self.walls and port is not None and port not in limits.ports

    def closes_path(self, path: str) -> bool:
        """Whether a wall refuses to read a path; all but scratch is closed to writing besides."""
        return Wall.FILES in self.walls and not self.is_scratch(path) and not may_read(path)

    def is_scratch(self, path: str) -> bool:
        """Whether a path lies in the scratch directory, or is it."""
        if not self.scratch:
            return False
        try:
            return Path(path).resolve().is_relative_to(Path(self.scratch).resolve())
        except OSError:
            # Where a link of /proc leads is not to be read.
            return False

    def refuses(self, refusal: Refusal, limits: Limits) -> bool:
        """Whether what was tried is refused by a wall that stands."""
        if refusal.kind is RefusalKind.PORT:
            return self.closes_port(refusal.port, limits)
        if refusal.kind is RefusalKind.FILE:
            return self.closes_path(refusal.subject)
        return Wall.CALLS in self.walls


#: Nothing around it: nothing is refused by walls.
NO_WALLS: Final = Surroundings()


def refusal_in(
    error: BaseException, limits: Limits, hosts: HostWatch, around: Surroundings
) -> Refusal | None:
    """Give what refused the thing that one exception by itself is about; None where nobody did."""
    if not around.walls:
        return None
    is_closed = around.closes_port(hosts.port, limits)
    if is_of_several_addresses(error, hosts):
        return _port(hosts.port) if is_closed else None
    if not isinstance(error, OSError) or is_tls(error):
        # TLS has numbers of its own, the first of which is that of EPERM too.
        return None
    if error.errno in _REFUSED:
        if error.filename is None:
            attempt = _attempt_of(error, hosts)
            if attempt is not None and attempt.refusal.kind is RefusalKind.PORT:
                # Where it is open, it was the machine that refused it.
                is_open = not around.refuses(attempt.refusal, limits)
                kind = RefusalKind.FIREWALL if is_open else RefusalKind.PORT
                return Refusal(kind, attempt.refusal.port)
            if attempt is None and is_closed and not _is_called(error):
                return _port(hosts.port)
        return _of_the_system(error, limits, hosts, around)
    if "socket.gaierror" in names_of(error) and around.closes_port(_NAMES_PORT, limits):
        return Refusal(RefusalKind.NAMES, _NAMES_PORT)
    if error.errno is None and _module_of(error) == "pty" and Wall.CALLS in around.walls:
        return _program(hosts)
    return None


def refusal_in_words(
    error: BaseException, limits: Limits, hosts: HostWatch, around: Surroundings
) -> Refusal | None:
    """Give what refused something that only the words of exceptions, or what they hold, tell of.

    Looked for where nothing else explains an exception: words have to name a port or a path that a
    wall refuses.
    """
    if not around.walls:
        return None
    for link in links_of(error):
        with suppress(Exception):
            for held in _held_by(link):
                found = refusal_in(held, limits, hosts, around)
                if found is not None:
                    return found
            found = _said(link, limits, hosts, around)
            if found is not None:
                return found
    return None


def hidden_refusals(
    said: Refusal | None, limits: Limits, hosts: HostWatch, around: Surroundings
) -> tuple[Refusal, ...]:
    """Give what was refused to a run beside what its failure says, each once, the first ones."""
    if not around.walls:
        return ()
    found: list[Refusal] = []
    for attempt in hosts.attempts:
        refusal = attempt.refusal
        is_new = refusal not in found and refusal != said
        if attempt.is_told and is_new and around.refuses(refusal, limits):
            found.append(refusal)
    return tuple(found)


def _port(port: int | None) -> Refusal:
    return Refusal(RefusalKind.PORT, port or 0)


def _of_the_system(
    error: OSError, limits: Limits, hosts: HostWatch, around: Surroundings
) -> Refusal | None:
    """What a system call was refused by; None for a library that gives its own errors numbers."""
    attempt = _attempt_of(error, hosts)
    if attempt is not None:
        return attempt.refusal if around.refuses(attempt.refusal, limits) else None
    if not _is_of_the_system(error):
        return None
    module = _module_of(error)
    kind = _MODULES.get(module)
    if kind is None and module.startswith(_PROCESSES):
        kind = RefusalKind.PROCESS
    if kind is not None and Wall.CALLS in around.walls:
        return _program(hosts) if kind is RefusalKind.PROGRAM else Refusal(kind)
    path = _path_of(error)
    if path is not None:
        return _of_a_path(path, around, error.errno or 0)
    if hosts.attempts and not _is_called(error):
        # The standard library's own words for what a call of its own was refused.
        last = hosts.attempts[-1].refusal
        if around.refuses(last, limits):
            return last
    return Refusal(RefusalKind.CALL)


def _of_a_path(path: str, around: Surroundings, number: int = errno.EACCES) -> Refusal:
    """Why a path was refused to a run, with this number."""
    subject = path[:SUBJECT_CHARACTERS]
    if around.is_scratch(path) or (Wall.FILES not in around.walls and number == errno.EPERM):
        return Refusal(RefusalKind.CALL)
    is_closed_to_user = may_read(path) and os.path.exists(path) and not os.access(path, os.R_OK)
    if is_closed_to_user or Wall.FILES not in around.walls:
        return Refusal(RefusalKind.PERMISSION, subject=subject)
    return Refusal(RefusalKind.FILE, subject=subject)


def _path_of(error: OSError) -> str | None:
    """The path that an error of the system names; None where it names none."""
    for name in (error.filename, error.filename2):
        if isinstance(name, str | bytes | os.PathLike):
            return os.path.abspath(os.fsdecode(name))
    return None


def _program(hosts: HostWatch) -> Refusal:
    """The program that was to be started last."""
    tried = [one.refusal for one in hosts.attempts if one.refusal.kind is RefusalKind.PROGRAM]
    return tried[-1] if tried else Refusal(RefusalKind.PROGRAM)


def _attempt_of(error: BaseException, hosts: HostWatch) -> Attempt | None:
    """The call that raised an error, where the audit hook saw that very call."""
    place = _place_of(error)
    if place is None:
        return None
    code, instruction = place.tb_frame.f_code, place.tb_lasti
    for attempt in reversed(hosts.attempts):
        if attempt.code is code and attempt.instruction in (None, instruction):
            return attempt
    return None


def _said(
    error: BaseException, limits: Limits, hosts: HostWatch, around: Surroundings
) -> Refusal | None:
    """What the words of an exception tell of."""
    if getattr(error, "sqlite_errorname", "") == _CANNOT_OPEN:
        return _database(hosts, around)
    if is_tls(error) or getattr(error, "sqlstate", None) or getattr(error, "pgcode", None):
        # Said by a server, of its own files.
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return None
    text = str(error)[:_MOST_CHARACTERS]
    words = text.lower()
    if any(each in words for each in _REFUSED_WORDS):
        for port in (hosts.port, *map(int, _PORTS.findall(text))):
            if port and port <= _LAST_PORT and around.closes_port(port, limits):
                return _port(port)
        for path in _PATHS.findall(text):
            is_here = os.path.exists(path) or os.path.isdir(os.path.dirname(path))
            if is_here and Wall.FILES in around.walls and not around.is_scratch(path):
                return _of_a_path(path, around)
    if any(each in words for each in _NO_NAME_WORDS) and around.closes_port(_NAMES_PORT, limits):
        return Refusal(RefusalKind.NAMES, _NAMES_PORT)
    return None


def _database(hosts: HostWatch, around: Surroundings) -> Refusal | None:
    """The file of a database that could not be opened, where it is closed."""
    opened = [one.refusal for one in hosts.attempts if one.refusal.kind is RefusalKind.FILE]
    path = os.path.abspath(opened[-1].subject) if opened and opened[-1].subject else ""
    return _of_a_path(path, around) if path and around.closes_path(path) else None


def _held_by(error: BaseException) -> Iterator[BaseException]:
    """Exceptions that another keeps as values, or in lists and dictionaries of its own."""
    pending: list[Any] = list(vars(error).values())
    left = _MOST_VALUES
    while pending and left:
        left -= 1
        value = pending.pop(0)
        if isinstance(value, BaseException):
            yield value
            yield from links_of(value)
        elif type(value) is dict:
            pending += list(value.values())[:left]
        elif type(value) in (list, tuple):
            pending += value[:left]


def _place_of(error: BaseException) -> Any:
    """Where an exception was raised: the innermost entry of its traceback."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place


def _module_of(error: BaseException) -> str:
    """The name of the module in whose code an exception was raised."""
    place = _place_of(error)
    return str(place.tb_frame.f_globals.get("__name__", "")) if place is not None else ""


def _is_called(error: BaseException) -> bool:
    """Whether it came out of a call, and neither out of a statement nor of what was waited for."""
    place = _place_of(error)
    return place is not None and place.tb_frame.f_code.co_code[place.tb_lasti] not in _HANDED_ON


def _is_of_the_system(error: BaseException) -> bool:
    """Whether a system call failed, and not a library that gives its own errors such numbers.

    A library's own error is raised by a statement of a module that is installed, or was put there
    for whoever waits for it. What the system has refused is raised inside of the interpreter, by a
    module that comes with it, or by a charm that has called the system itself.
    """
    place = _place_of(error)
    if place is None:
        return True
    code = place.tb_frame.f_code
    if _INSTALLED not in code.co_filename:
        return True
    return code.co_code[place.tb_lasti] not in _HANDED_ON
