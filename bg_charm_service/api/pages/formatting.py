"""How pages write times, durations, sizes, statuses and advice. Pure: the time comes in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bg_charm_service.domain.model import ADDED_AGAIN_STATUS, ADDED_STATUS
from bg_charm_service.domain.schedules.time_zones import wall_at
from bg_charm_service.domain.text_limits import PAGE_LINE_CHARACTERS, cut
from bg_charm_service.domain.views import CharmView
from bg_charm_service.storage.records import SLOW_MS

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))

#: A moment that is nearer than this is written with its second; page.js does the same.
_NEAR_SECONDS = 120.0

#: What to do about a failed run, by its cause.
_ADVICE = {
    "error": "The charm's own code raised this. The traceback names the line; fix the source and "
    "update the charm, or set the field that it trips over.",
    "state": "The charm left a value that does not fit its field. Fix the source or set the field.",
    "state_size": "The charm left more to store than it may. Make it keep less: drop what is old. "
    "An operator can allow more: limits --state, or for collections the service's --items-size and "
    "--items-total.",
    "compiler": "The source cannot be loaded. Update the charm with source that loads.",
    "timeout": "The run took longer than it may and was stopped. Make it do less at a time. An "
    "operator can allow more: limits --timeout.",
    "cpu": "The run computed longer than it may and was stopped. Look for a loop without end. An "
    "operator can allow more: limits --cpu.",
    "memory": "The run used more memory than it may. Make it hold less at a time. An operator can "
    "allow more: limits --memory.",
    "files": "The run had more files and connections open than it may. Close what is done with. An "
    "operator can allow more: limits --files.",
    "threads": "The run started more threads than it may. Use a pool of a few. An operator can "
    "allow more: limits --threads.",
    "log": "The run printed without end and was stopped. Print less: what is beyond the limit is "
    "not kept anyway.",
    "scratch": "The run wrote more to its scratch directory than it may. Delete files that it is "
    "done with. An operator can allow more: limits --scratch.",
    "forbidden": "The run tried what no charm may do: files outside its scratch directory, other "
    "programs, listening, or a port that is not open to it. docs/security.md has the list. An "
    "operator can open a port: limits --network.",
    "tls": "The connection to its provider could not be made safe. Look at the host's certificate; "
    "one of your own belongs into SSL_CERT_FILE.",
    "down": "Its provider could not be reached, or failed itself. It is asked again by itself; run "
    "it by hand to try now.",
    "wait": "It was asked to wait, and runs again by itself when its time comes.",
    "sign_in": "Sign in where it says; where no sign-in of its own is the matter, set its field or "
    "the one that it has a link to.",
    "stop": "It said that there is nothing to do any more. Enable it to have it polled again.",
    "exit": "The charm ended its worker process. Remove the call that exits.",
    "signal": "The worker was killed during the run: by the system for memory, or by a crash in "
    "a compiled library.",
    "protocol": "What came back from the worker was not a valid answer. See the service's log.",
    "packages": "The packages that it needs were taken away. They are fetched again, and it runs "
    "when they are there.",
    "supervisor": "The service died several times while this ran. Run it alone with Run now and "
    "watch the service's log.",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A status dot: `kind` is its style, `word` says it, `reason` more of it."""

    kind: str
    word: str
    reason: str = ""


def mark_of(charm: CharmView) -> Mark:
    """How a charm is doing, as the original's dots say it: green, yellow, grey, red."""
    if charm.paused:
        return Mark("failed", "Paused", paused_text(charm))
    if charm.disabled_by == "sign_in":
        return Mark("failed", "Sign in again", charm.status)
    if charm.disabled_by == "stopped":
        return Mark("off", "Stopped", charm.status)
    if charm.disabled_by == "failures":
        return Mark("failed", "Disabled by failures", charm.status)
    if charm.disabled_by == "service":
        return Mark("failed", "Held", charm.status)
    if not charm.enabled:
        return Mark("off", "Disabled", charm.status)
    waiting = charm.waiting
    if waiting is not None and waiting.kind == "packages":
        return Mark("unknown", "Waiting", "Its packages are not there yet.")
    if waiting is not None and waiting.kind in ("wait", "down"):
        return Mark("unknown", "Waiting" if waiting.kind == "wait" else "Down", charm.status)
    if charm.consecutive_failures:
        count = f"{charm.consecutive_failures} of {charm.disabled_after}"
        return Mark("failed", "Failing", f"{count} polls in a row have failed")
    if not charm.registered and not charm.listed_by:
        return Mark("unregistered", "Not registered", "It is not polled.")
    if not charm.last_success or charm.status in (ADDED_STATUS, ADDED_AGAIN_STATUS):
        return Mark("unknown", "Waiting", charm.status or "It has not run yet.")
    if charm.stale_since:
        return Mark("unknown", "Stale", "What it stores did not change as it should.")
    if charm.runs_late:
        took = duration(charm.last_ms)
        return Mark("unknown", "Runs late", f"A run takes {took}; it is due {charm.schedule}.")
    if charm.last_ms >= SLOW_MS:
        return Mark("ok", "Running, slow", f"The last run took {duration(charm.last_ms)}.")
    if waiting is not None:
        return Mark("ok", "Goes on", "It names the time of its next run itself.")
    return Mark("ok", "Running")


def paused_text(charm: CharmView) -> str:
    """Say what keeps a paused charm from running, and whose word that is."""
    what = {"space": "Its space was", "everything": "Everything was"}
    return f"{what.get(charm.paused or '', 'It was')} paused by {charm.paused_by}"


def ago(moment: float, now: float) -> str:
    """Say how long ago something was, or in how long it will be; empty for never."""
    if not moment:
        return ""
    seconds = now - moment
    if abs(seconds) < 1:
        return "now"
    text = _span(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def _span(seconds: float) -> str:
    for size, name in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{int(seconds)} s"


def moment_text(moment: float) -> str:
    """Write a moment exactly, in universal time."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock_text(moment: float, now: float) -> str:
    """Write a moment by the clock, in universal time: with its second where it is near.

    With the day, unless it is today.
    """
    at, today = datetime.fromtimestamp(moment, UTC), datetime.fromtimestamp(now, UTC)
    day = "" if at.date() == today.date() else f"{at:%Y-%m-%d} "
    is_near = abs(moment - now) < _NEAR_SECONDS
    return f"{day}{at:%H:%M:%S} UTC" if is_near else f"{day}{at:%H:%M} UTC"


def iso(moment: float) -> str:
    """Write a moment for machines."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def duration(milliseconds: float) -> str:
    """Write how long something took."""
    if milliseconds < 1:
        return "under 1 ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 10_000:
        return f"{milliseconds / 1000:.1f} s"
    seconds = milliseconds / 1000
    return f"{seconds:.0f} s" if seconds < 120 else _span(seconds)


def interval(seconds: float) -> str:
    """Write how often something happens."""
    if seconds < 120 or seconds % 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 7200 or seconds % 3600 else f"{seconds / 3600:g} h"


def zoned(at: float, time_zone: str, now: float) -> str:
    """Write a moment as the clocks of a time zone show it: with its day, unless it is that of now.

    A second is written unless it is the first of its minute.
    """
    wall = wall_at(time_zone, at)
    time = f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"
    is_today = wall.date() == wall_at(time_zone, now).date()
    return time if is_today else f"{wall:%a %d %b}, {time}"


def size(count: float) -> str:
    """Write a number of bytes."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def percent(rate: float | None) -> str:
    """Write a success rate; never 100 % when anything failed."""
    if rate is None:
        return "-"
    shown = f"{rate * 100:.1f}"
    if rate < 1 and shown == "100.0":
        shown = "99.9"
    return f"{shown.removesuffix('.0')} %"


def counted(count: int, word: str) -> str:
    """Write a number with its noun."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def first_line(text: str, limit: int = PAGE_LINE_CHARACTERS) -> str:
    """The first line of an error, cut."""
    return cut(" ".join(text[: limit * 4].split()), limit)


def advice(cause: str | None) -> str:
    """What to do about a failure."""
    return _ADVICE.get(cause or "", "")


def short_did(did: str) -> str:
    """A DID that fits a table: its beginning and end."""
    return did if len(did) < 24 else f"{did[:12]}…{did[-4:]}"
