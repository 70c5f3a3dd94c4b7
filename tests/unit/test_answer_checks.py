"""Promises of large answers: they are held back until they are checked, a part a step."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.items import TouchedItems
from bg_charm_service.domain.json_values import PART_BYTES, CheckedJson, check_json
from bg_charm_service.domain.model import Failure, Send
from bg_charm_service.supervisor.answers.answer_checks import AnswerChecks
from bg_charm_service.workers.pool.events import RunFinished
from bg_charm_service.workers.protocol.messages import Answer
from tests.unit.plain_run import RUN

LARGE = b"[" + b"[]," * PART_BYTES + b"1]"
TOO_DEEP = b"[" + b"[1]," * PART_BYTES + b"[" * 100 + b"]" * 101


def finished(*sends: bytes, **writes: bytes) -> RunFinished:
    """A run that left values, and sent events."""
    events = tuple(Send("out", event) for event in sends)
    return RunFinished(RUN, 1, "", answer=Answer("1.1", 0.1, writes=writes, sends=events))


def complete(checks: AnswerChecks) -> tuple[int, RunFinished]:
    """Take steps until an answer is complete; gives how many it took."""
    steps = 1
    while not (done := checks.advance()):
        steps += 1
    (answered,) = done
    return steps, answered


def answer_of(answered: RunFinished) -> Answer:
    """The answer of a run that has one."""
    assert answered.answer is not None
    return answered.answer


def test_small_answers_go_by() -> None:
    """What is quick to check is settled in the step in which it came."""
    checks = AnswerChecks()
    assert not checks.holds_back(finished(x=b"1", y=b'"text"'))
    assert not checks.holds_back(finished(b"{}", x=b"1"))
    death = Failure(FailureCause.EXIT, "It ended its worker.")
    assert not checks.holds_back(RunFinished(RUN, 1, "", death=death))
    assert not checks
    assert [] == checks.advance()


def touching(**writes: bytes | None) -> RunFinished:
    """A run that wrote items."""
    return replace(finished(), items=(TouchedItems("box", writes=writes),))


@pytest.mark.parametrize(
    "answered", [finished(x=LARGE), finished(LARGE, x=b"1"), touching(a=LARGE, b=None)]
)
def test_a_large_answer_takes_several_steps(answered: RunFinished) -> None:
    """It is the same answer in the end, and is not checked again."""
    checks = AnswerChecks()
    assert checks.holds_back(answered)
    steps, done = complete(checks)
    assert steps > len(LARGE) // PART_BYTES
    assert done == answered
    answer = answer_of(done)
    values = [*answer.writes.values(), *(send.event for send in answer.sends)]
    values += [value for one in done.items for value in one.writes.values() if value is not None]
    assert values
    assert all(isinstance(value, CheckedJson) for value in values)
    assert not checks


def test_many_answers_of_some_size_are_a_large_one() -> None:
    """What comes together is looked at in one step up to a part in all."""
    checks = AnswerChecks()
    value = b'"' + b"x" * (PART_BYTES // 3) + b'"'
    held = [checks.holds_back(finished(x=value)) for _ in range(5)]
    assert [False, False, True, True, True] == held
    complete(checks)
    assert not checks.holds_back(finished(x=value))
    for _ in range(2):
        complete(checks)
    assert not checks


def test_many_small_values_are_cut_too() -> None:
    """An answer of very many values is no single part."""
    checks = AnswerChecks()
    assert checks.holds_back(finished(*[b'"' + b"x" * 4000 + b'"'] * 700))
    steps, _ = complete(checks)
    assert steps >= 10


def test_what_is_wrong_is_said_where_it_is_settled() -> None:
    """The completer finds in a checked value what it would have found itself."""
    with pytest.raises(ValueError, match="nested deeper") as plain:
        check_json(TOO_DEEP)
    checks = AnswerChecks()
    checks.holds_back(finished(bad=TOO_DEEP, good=b"1"))
    _, done = complete(checks)
    answer = answer_of(done)
    with pytest.raises(ValueError, match="nested deeper") as told:
        check_json(answer.writes["bad"])
    assert str(plain.value) == str(told.value)
    check_json(answer.writes["good"])


def test_answers_keep_their_order() -> None:
    """The first that came is complete first."""
    checks = AnswerChecks()
    checks.holds_back(finished(first=LARGE))
    checks.holds_back(finished(second=LARGE))
    names = [[*answer_of(complete(checks)[1]).writes] for _ in range(2)]
    assert [["first"], ["second"]] == names
