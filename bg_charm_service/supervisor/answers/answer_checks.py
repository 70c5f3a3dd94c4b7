"""Holds answers back whose values are large, until their JSON is checked, a part a step.

To check what a run left takes up to 40 ns a byte, half a second for the largest state; answers
that came together may be as large as that in all. So a step looks at one part, and settles what is
complete. A run that is held back is still under way: what stops the service gives it back. Called
by the loop; knows nothing of what becomes of answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator

from msgspec.structs import replace

from bg_charm_service.domain.items import written_bytes
from bg_charm_service.domain.json_values import PART_BYTES, CheckedJson, check_json_in_parts
from bg_charm_service.workers.pool.events import RunFinished
from bg_charm_service.workers.protocol.messages import Answer


class AnswerChecks:
    """Answers that wait, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[Iterator[RunFinished | None]] = deque()
        #: How many bytes of values went by unchecked in this step.
        self._let_by_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def holds_back(self, finished: RunFinished) -> bool:
        """Take an answer that is not to be settled in this step; False for one that may be."""
        answer = finished.answer
        if answer is None:
            return False
        size_bytes = sum(map(len, answer.writes.values()))
        if answer.sends:
            size_bytes += sum(len(send.event) for send in answer.sends)
        if answer.reminds:
            size_bytes += sum(len(remind.event) for remind in answer.reminds)
        if finished.items:
            size_bytes += sum(written_bytes(part.writes) for part in finished.items)
        if self._let_by_bytes + size_bytes <= PART_BYTES:
            self._let_by_bytes += size_bytes
            return False
        self._waiting.append(_check(finished, answer))
        return True

    def advance(self) -> list[RunFinished]:
        """Begin a step: look at one more part; gives the answer that is complete with it."""
        self._let_by_bytes = 0
        if not self._waiting:
            return []
        finished = next(self._waiting[0])
        if finished is None:
            return []
        self._waiting.popleft()
        return [finished]


def _check(finished: RunFinished, answer: Answer) -> Iterator[RunFinished | None]:
    """Check an answer's values: gives None after each part, and then what is checked."""
    writes, sends, reminds, looked_at = {}, [], [], 0
    for name, value in answer.writes.items():
        checked = yield from _check_value(value)
        writes[name] = checked
        looked_at += len(value)
        if looked_at >= PART_BYTES:
            looked_at = 0
            yield None
    for send in answer.sends:
        checked = yield from _check_value(send.event)
        sends.append(replace(send, event=checked))
        looked_at += len(send.event)
        if looked_at >= PART_BYTES:
            looked_at = 0
            yield None
    for remind in answer.reminds:
        # One that is taken back has no event.
        checked = yield from _check_value(remind.event or b"null")
        reminds.append(replace(remind, event=checked if remind.event else b""))
        looked_at += len(remind.event)
        if looked_at >= PART_BYTES:
            looked_at = 0
            yield None
    items = []
    for part in finished.items:
        # Each is small enough to be looked at at once, but for a single item that is large.
        kept = {}
        for key, item in part.writes.items():
            kept[key] = item if item is None else (yield from _check_value(item))
        items.append(replace(part, writes=kept))
        looked_at += written_bytes(part.writes)
        if looked_at >= PART_BYTES:
            looked_at = 0
            yield None
    all_checked = replace(answer, writes=writes, sends=tuple(sends), reminds=tuple(reminds))
    yield replace(finished, answer=all_checked, items=tuple(items))


def _check_value(value: bytes) -> Generator[None, None, CheckedJson]:
    try:
        for _ in check_json_in_parts(value):
            yield None
    except ValueError as error:
        # Whoever settles it says so, where it says what else is wrong.
        return CheckedJson(value, str(error))
    return CheckedJson(value)
