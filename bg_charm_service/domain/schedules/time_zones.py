"""Time zones by name, and between wall-clock times in one and moments.

Pure but for the zone data, which `zoneinfo` reads from the system, or else from the package tzdata.
Moments are float seconds since the epoch, wall-clock times are datetimes without a zone; nothing is
ever added to a wall-clock time of a zone, since that would forget its clock changes.
"""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

#: The zone that counts where none is named.
UTC_NAME = "UTC"

#: So many names are offered for one that does not exist.
_OFFERED = 3


def read_zone(name: object) -> str:
    """Give the name of a time zone that this machine knows; raises ValueError with those near."""
    if isinstance(name, str) and name in _names():
        return name
    near = _near(name) if isinstance(name, str) else []
    hint = f"did you mean {' or '.join(near)}?" if near else "a name is such as Europe/Oslo"
    raise ValueError(f"there is no time zone {name!r:.60}: {hint}")


def is_known(name: str) -> bool:
    """Whether this machine knows a zone now; one that was read and stored may be gone since."""
    return name == UTC_NAME or _zone(name).key == name


def wall_at(zone: str, moment: float) -> datetime:
    """Give the wall-clock time of a moment, to the second; UTC where the zone is gone."""
    return datetime.fromtimestamp(moment // 1, _zone(zone)).replace(tzinfo=None, fold=0)


def offset_at(zone: str, moment: float) -> float:
    """Give what a zone's clocks are ahead of UTC at a moment, in seconds."""
    offset = datetime.fromtimestamp(moment // 1, _zone(zone)).utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


def moment_of(zone: str, wall: datetime, *, second: bool = False) -> float:
    """Give the moment of a wall-clock time: the first one of two, or the `second`.

    For a time that a clock change leaves out, the moment right after the gap.
    """
    at = wall.replace(tzinfo=_zone(zone), fold=int(second)).timestamp()
    if wall_at(zone, at) == wall:
        return at
    # In a gap the later reading of the two is before it, and the earlier one behind it.
    before = wall.replace(tzinfo=_zone(zone), fold=1).timestamp()
    behind = wall.replace(tzinfo=_zone(zone), fold=0).timestamp()
    while behind - before > 1:
        middle = (before + behind) // 2
        if wall_at(zone, middle) >= wall:
            behind = middle
        else:
            before = middle
    return behind


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return ZoneInfo(UTC_NAME)


@cache
def _names() -> frozenset[str]:
    # This opens every file of the zones, which takes some time: only where somebody names one.
    return frozenset(available_timezones() | {UTC_NAME})


def _near(name: str) -> list[str]:
    """Names that may have been meant: by the whole name, or by the place alone."""
    wanted = name.strip().lower().replace(" ", "_")
    by_lower: dict[str, str] = {}
    for known in sorted(_names()):
        by_lower.setdefault(known.lower(), known)
    by_place: dict[str, str] = {}
    for lower, known in by_lower.items():
        by_place.setdefault(lower.rpartition("/")[2], known)
    names = get_close_matches(wanted, by_lower, n=_OFFERED, cutoff=0.75)
    places = get_close_matches(wanted.rpartition("/")[2], by_place, n=_OFFERED, cutoff=0.8)
    found = [by_lower[near] for near in names] + [by_place[near] for near in places]
    return list(dict.fromkeys(found))[:_OFFERED]
