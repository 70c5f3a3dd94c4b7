"""Each charm of a process finds what they share as if it were alone there.

What is watched stands in `watched_state`. Here is when: a run begins with what its class's module
left when it was loaded; what the handler changes is put back when it is over; what a library
changes while it is loaded, which it does once, counts for all. Used by the worker, around loads
and runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any, Final

from bg_charm_service.workers.runtime.assigned_names import (
    AssignedName,
    assigned_names,
    is_harmless,
)
from bg_charm_service.workers.runtime.import_watch import listen
from bg_charm_service.workers.runtime.watched_state import MISSING, WATCHED, Watched

#: The interpreter makes code faster while it runs.
_WARM_READS: Final = 32


@cache
def shared_state() -> SharedState:
    """Give that of this process; a worker gets the zygote's by its fork, with most of it noted."""
    return SharedState()


class Setup:
    """How things are for the charms of a class: a value for each row, and the names it assigns."""

    def __init__(self, values: list[Any], names: Iterable[AssignedName] = ()) -> None:
        self.values = values
        self.names = tuple(names)
        #: What the names stand for without it, and with it, as far as their modules are loaded.
        self.without: dict[AssignedName, Any] = {}
        self.within: dict[AssignedName, Any] = {}
        #: The rows that are put back before each of its runs.
        self.repeats: tuple[int, ...] = ()

    def note_names(self) -> None:
        """Note what those names stand for whose modules have been loaded meanwhile."""
        for name in self.names:
            if name not in self.without and name.module in sys.modules:
                try:
                    self.without[name] = self.within[name] = name.read()
                except LookupError:
                    # Another module, which is not loaded yet, makes its place.
                    continue

    def note_own_names(self) -> None:
        """Note what the names stand for now that the class is loaded."""
        self.within = {name: _read_name(name) for name in self.without}


class SharedState:
    """What the charms of this process share, from the first load that may change it until `end`."""

    def __init__(self, watched: Collection[Watched] = WATCHED) -> None:
        self._waiting: dict[str, list[Watched]] = {}
        for row in watched:
            self._waiting.setdefault(row.module, []).append(row)
        self._rows: list[Watched] = []
        self._modules: list[ModuleType] = []
        self._settling: list[int] = []
        self._read_all: Callable[[], list[Any]] = list
        #: For all charms whose modules change nothing.
        self._plain = Setup([])
        #: For those whose source shows that they cannot change anything: most need no more.
        self._harmless = Setup(self._plain.values)
        self._current = self._harmless
        self._is_noted = False
        self._others: list[Setup] = []
        self._before_import: list[Any] | None = None

    def prepare(self) -> None:
        """Do beforehand, in the zygote, what takes long: workers note only what is theirs."""
        self._note()
        for _ in range(_WARM_READS):
            self._read_all()
        self.end()

    def end(self) -> None:
        """Watch no longer, and forget all classes; a load begins it again."""
        listen(None)
        self._is_noted = False
        self._current = self._harmless
        self._others.clear()

    def begin_load(self, source: str) -> None:
        """Have everything as it was: a class is about to be loaded from this source."""
        names = assigned_names(source)
        if not names and is_harmless(source):
            self.enter(self._harmless)
            return
        if not self._is_noted:
            # No class that was loaded here so far could have changed anything.
            self._note()
        self.enter(self._plain)
        if names:
            self._current = Setup(self._plain.values, names)
            self._current.note_names()
            self._others.append(self._current)

    def end_load(self) -> Setup:
        """Give how its module has left things: so each of its runs begins."""
        if not self._is_noted:
            return self._harmless
        setup = self._current
        # The module of the class itself is one more.
        self._settle(added=1)
        if setup is self._harmless:
            return setup
        if self._is_as_it_was():
            setup.note_own_names()
            return setup
        now = self._read()
        changed = {}
        for number in self._unlike(now, setup.values):
            row = self._rows[number]
            if now[number] is not MISSING and row.put_back is not None:
                changed[number] = row.keep(now[number])
        # Some are nobody's to keep.
        changed = {
            number: kept
            for number, kept in changed.items()
            if not _is_same(kept, setup.values[number])
        }
        if changed:
            own = setup if setup.names else Setup([])
            own.values = [changed.get(number, old) for number, old in enumerate(setup.values)]
            own.repeats = tuple(number for number in changed if self._rows[number].repeats)
            if own is not setup:
                self._others.append(own)
            self._current = own
        self._current.note_own_names()
        return self._current

    def enter(self, setup: Setup) -> None:
        """Have everything as a class left it, after `put_back` for the one before."""
        before = self._current
        if setup is before and not setup.repeats:
            return
        self._current = setup
        for number in self._unlike(setup.values, before.values):
            self._put(number, setup.values[number])
        for number in setup.repeats:
            self._put(number, setup.values[number])
        if setup is not before:
            _write_names(before.without)
            _write_names(setup.within)

    def put_back(self) -> str:
        """Put back what a run has changed; names what could not be, empty when all is as it was."""
        if self._current is self._harmless:
            return ""
        if self._current.names:
            _write_names(self._current.within)
        if self._is_as_it_was():
            return ""
        # Twice: what was put back first may have been changed by what was put back next.
        for _ in range(2):
            for number in self._unlike(self._read(), self._current.values):
                self._put(number, self._current.values[number])
        self._settle()
        left = self._unlike(self._read(), self._current.values)
        return ", ".join(self._rows[number].name for number in left)

    def _note(self) -> None:
        """Note how things are, and from now on what libraries change."""
        self._is_noted = True
        now = self._read()
        for number in self._unlike(now, self._plain.values):
            self._plain.values[number] = self._rows[number].keep(now[number])
        self._watch_what_is_loaded()
        listen(self)

    # What `listen` tells.

    def import_begins(self) -> None:
        self._before_import = None if self._is_as_it_was() else self._keep()

    def import_ends(self) -> None:
        before, self._before_import = self._before_import, None
        if before is not None or not self._is_as_it_was():
            after = self._keep()
            for number in self._unlike(before or self._current.values, after):
                old = (before or self._current.values)[number]
                self._adopt(number, old, after[number])
        self._watch_what_is_loaded()

    def _adopt(self, number: int, before: Any, after: Any) -> None:
        """Let all setups have what a library has changed while it was loaded."""
        for values in self._all_values():
            with suppress(Exception):
                values[number] = self._rows[number].adopt(values[number], before, after)

    def _watch_what_is_loaded(self) -> None:
        """Begin to watch what belongs to modules that have been loaded meanwhile."""
        loaded = [name for name in self._waiting if name in sys.modules]
        if loaded:
            rows = [row for name in loaded for row in self._waiting.pop(name) if _prepare(row)]
            read = _reader_of(tuple(rows))
            try:
                found = read()
            except Exception:
                # Another version of a library, which has no such thing, or not there.
                rows = [row for row in rows if _read_if_there(row) is not MISSING]
                read = _reader_of(tuple(rows))
                found = read()
            # Behind those before: to make one of all anew takes as long as a hundred reads of both.
            self._read_all = _one_after_the_other(self._read_all, read) if self._rows else read
            self._rows += rows
            self._settling = [number for number, row in enumerate(self._rows) if row.settles]
            self._modules += [sys.modules[row.module] for row in rows]
            kept = [row.keep(value) for row, value in zip(rows, found, strict=True)]
            for values in self._all_values():
                values += kept
        for setup in self._others:
            setup.note_names()

    def _settle(self, added: int = 0) -> None:
        """Take what has been added where that is right, once what is missing was put back.

        Nothing is missing where as much has `added` as there is more.
        """
        now = self._read()
        for number in self._settling:
            expected = self._current.values[number]
            if now[number] != expected:
                if now[number] != expected + added:
                    self._put(number, expected)
                    now = self._read()
                kept = self._rows[number].keep(now[number])
                for values in self._all_values():
                    values[number] = kept

    def _all_values(self) -> list[list[Any]]:
        own = [one.values for one in self._others if one.values is not self._plain.values]
        return [self._plain.values, *own]

    def _is_as_it_was(self) -> bool:
        try:
            return self._read_all() == self._current.values
        except Exception:
            # Something is gone, or cannot be compared.
            return False

    def _read(self) -> list[Any]:
        try:
            return self._read_all()
        except Exception:
            return [_read_if_there(row) for row in self._rows]

    def _keep(self) -> list[Any]:
        return [
            value if value is MISSING else row.keep(value)
            for row, value in zip(self._rows, self._read(), strict=True)
        ]

    def _put(self, number: int, value: Any) -> None:
        put_back = self._rows[number].put_back
        if put_back is not None:
            # What it was worth is seen by what is read afterwards.
            with suppress(Exception):
                put_back(self._modules[number], value)

    @staticmethod
    def _unlike(some: list[Any], others: list[Any]) -> list[int]:
        """Give the numbers of the rows in which these differ."""
        if some is others:
            return []
        pairs = enumerate(zip(some, others, strict=True))
        return [number for number, (one, other) in pairs if not _is_same(one, other)]


def _prepare(row: Watched) -> bool:
    try:
        row.prepare(sys.modules[row.module])
    except Exception:
        return False
    return True


def _read_one(row: Watched) -> Any:
    return _reader_of((row,))()[0]


def _read_if_there(row: Watched) -> Any:
    try:
        return _read_one(row)
    except Exception:
        return MISSING


def _one_after_the_other(
    first: Callable[[], list[Any]], then: Callable[[], list[Any]]
) -> Callable[[], list[Any]]:
    return lambda: first() + then()


@cache
def _reader_of(rows: tuple[Watched, ...]) -> Callable[[], list[Any]]:
    """Make one function that reads rows: to call one for each would take several times as long.

    Workers get that of the rows that they begin with by their fork, ready and warm.
    """
    text = ", ".join(map(_expression, rows))
    # The table's own text, and nobody else's.
    reader: Callable[[], list[Any]] = eval(f"lambda: [{text}]", _NAMES)  # noqa: S307
    return reader


def _expression(row: Watched) -> str:
    of = f"of_{row.module.replace('.', '_')}"
    # Once: another may have been put in its place since.
    _NAMES.setdefault(of, sys.modules[row.module])
    if isinstance(row.read, str):
        return row.read.format(of=of)
    _NAMES[row.read.__name__] = row.read
    return f"{row.read.__name__}({of})"


#: What the expressions of the table know.
_NAMES: Final[dict[str, Any]] = {"MISSING": MISSING}


def _is_same(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:
        return False


def _read_name(name: AssignedName) -> Any:
    try:
        return name.read()
    except LookupError:
        return MISSING


def _write_names(values: dict[AssignedName, Any]) -> None:
    for name, value in values.items():
        # Where its place is gone, it is gone with it.
        with suppress(Exception):
            if name.read() is not value:
                name.write(value)
