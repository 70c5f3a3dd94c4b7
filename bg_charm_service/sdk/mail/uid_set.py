"""Sets of UIDs of mails, as a mail server writes them: `1:9000,9004`. Imported by authors.

What stands for a mailbox of 100,000 mails is a text of a few bytes, for a field to keep.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

#: UIDs have 32 bits (RFC 9051, 2.3.1.1); what a server writes may be larger.
_END: Final = sys.maxsize


class UidSet:
    """Some UIDs; it does not change. `|`, `&` and `-` give others.

        wanted = UidSet.parse(self.wanted) - UidSet.of(uids_that_were_read)
        self.wanted = str(wanted)

    However many it has, it takes as much as their runs without a gap.
    """

    __slots__ = ("_starts", "_stops")

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        """Make one of runs without a gap, each its first and its last UID."""
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in sorted(runs):
            if start > stop:
                continue
            if self._stops and start <= self._stops[-1] + 1:
                self._stops[-1] = max(stop, self._stops[-1])
            else:
                self._starts.append(start)
                self._stops.append(stop)

    @classmethod
    def of(cls, uids: Iterable[int]) -> UidSet:
        """Make one of these UIDs."""
        return cls((uid, uid) for uid in uids)

    @classmethod
    def parse(cls, text: str) -> UidSet:
        """Read one; what is no UID is left out."""
        runs = []
        for piece in text.split(","):
            first, _, last = piece.strip().partition(":")
            if first.isdigit() and (not last or last.isdigit()):
                ends = (int(first), int(last or first))
                runs.append((min(ends), max(ends)))
        return cls(runs)

    @property
    def highest(self) -> int:
        """The highest UID; 0 where there is none."""
        return self._stops[-1] if self._stops else 0

    @property
    def lowest(self) -> int:
        """The lowest UID; 0 where there is none."""
        return self._starts[0] if self._starts else 0

    def up_to(self, uid: int) -> UidSet:
        """Give those that are no higher."""
        return self & UidSet([(0, uid)])

    def newest(self, count: int) -> list[int]:
        """Give the highest ones, so many at most, the highest first."""
        found: list[int] = []
        for start, stop in reversed(self._runs()):
            low = max(start, stop - (count - len(found)) + 1)
            found.extend(range(stop, low - 1, -1))
            if len(found) == count:
                break
        return found

    def __contains__(self, uid: int) -> bool:
        place = bisect_right(self._starts, uid) - 1
        return place >= 0 and uid <= self._stops[place]

    def __len__(self) -> int:
        return sum(stop - start + 1 for start, stop in self._runs())

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self._runs():
            yield from range(start, stop + 1)

    def __or__(self, other: UidSet) -> UidSet:
        return UidSet([*self._runs(), *other._runs()])

    def __and__(self, other: UidSet) -> UidSet:
        mine, theirs = self._runs(), other._runs()
        both: list[tuple[int, int]] = []
        while mine and theirs:
            (start, stop), (start_2, stop_2) = mine[-1], theirs[-1]
            both.append((max(start, start_2), min(stop, stop_2)))
            # The one that begins higher can meet nothing more.
            (mine if start >= start_2 else theirs).pop()
        return UidSet(both)

    def __sub__(self, other: UidSet) -> UidSet:
        gaps = zip([-1, *other._stops], [*other._starts, _END], strict=True)
        return self & UidSet([(stop + 1, start - 1) for stop, start in gaps])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UidSet):
            return NotImplemented
        return self._runs() == other._runs()

    def __hash__(self) -> int:
        return hash(tuple(self._runs()))

    def __str__(self) -> str:
        return ",".join(
            str(start) if start == stop else f"{start}:{stop}" for start, stop in self._runs()
        )

    def __repr__(self) -> str:
        return f"UidSet.parse({str(self)!r})"

    def _runs(self) -> list[tuple[int, int]]:
        return list(zip(self._starts, self._stops, strict=True))
