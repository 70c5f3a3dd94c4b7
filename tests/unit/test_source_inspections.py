"""Promises of what is believed of a description that a worker gives of a source: what can be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import CompilerError, FailureCause
from bg_charm_service.domain.limits import LimitChanges, Limits
from bg_charm_service.domain.model import CharmSchema, Failure, FieldKind, FieldSchema
from bg_charm_service.storage.sql.store import open_store
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.refusal_advice import Place, RefusalAdvice
from bg_charm_service.supervisor.source_inspections import SourceInspections
from bg_charm_service.workers.pool.events import InspectFinished
from bg_charm_service.workers.protocol.messages import FROM_WORKER, MOST_SETS, Inspect, Inspected
from tests.unit.test_loop import FakePool

FIELD = FieldSchema("count", FieldKind.VALUE, b"0")
TRUE = CharmSchema("Some", "Some", "", (FIELD,), ("bgUpdater",))


def advice_of(database: Database) -> RefusalAdvice:
    """Advice on what nobody has set any limits for."""
    store = open_store(database)
    return RefusalAdvice(store, LimitResolver(Limits(), store.limits))


class Echo(FakePool):
    """Workers that find every value fitting, of a class that may be another one each time."""

    def __init__(self, schemas: list[CharmSchema]) -> None:
        super().__init__(1)
        self.schemas = schemas
        self.asked: list[Inspect] = []
        self.inspections: SourceInspections | None = None

    def inspect(self, request: Inspect) -> None:
        assert self.inspections is not None
        schema = self.schemas[len(self.asked) % len(self.schemas)]
        self.asked.append(request)
        problems: tuple[dict[str, str], ...] = ({},) * len(request.values)
        answer = Inspected(request.request_id, schema, values=request.values, problems=problems)
        (read,) = FROM_WORKER.decoder().feed(FROM_WORKER.encode(answer))
        assert isinstance(read, Inspected)
        self.inspections.finish(InspectFinished(request.request_id, read))


class Teller(FakePool):
    """Workers that answer what the test tells them to."""

    def __init__(self, told: InspectFinished) -> None:
        super().__init__(1)
        self.told = told
        self.asked: list[Inspect] = []
        self.inspections: SourceInspections | None = None

    def inspect(self, request: Inspect) -> None:
        self.asked.append(request)
        assert self.inspections is not None
        self.inspections.finish(self.told)


def inspect(
    tmp_path: Path, told: InspectFinished, *values: dict[str, bytes], limits: Limits | None = None
) -> tuple[Inspected, Inspect]:
    """Let a source be described this way; gives what came of it, and what the worker was asked."""
    pool = Teller(told)
    database = Database.open(tmp_path / "test.db")
    try:
        pool.inspections = SourceInspections(pool, advice_of(database))
        asking = pool.inspections.inspect(
            "", "some.py", values=values, place=Place("demo"), limits=limits
        )
        return asyncio.run(asking), pool.asked[0]
    finally:
        database.close()


def described(schema: CharmSchema | None, **parts: object) -> InspectFinished:
    """An answer of a worker."""
    return InspectFinished(1, Inspected(1, schema, **parts))  # type: ignore[arg-type]


def test_description_is_given(tmp_path: Path) -> None:
    """What can be true is believed."""
    told = described(TRUE, values=({"count": b"1"},), problems=({"other": "no such field"},))
    inspected, _ = inspect(tmp_path, told, {"count": b"1", "other": b"2"})

    assert TRUE == inspected.schema


def test_limits_of_a_charm_count_where_they_are_given(tmp_path: Path) -> None:
    """A source is loaded within the limits of its charm, or of the service for an unknown one."""
    strict = Limits(timeout_seconds=1.0)
    assert strict == inspect(tmp_path, described(TRUE), limits=strict)[1].limits
    assert Limits() == inspect(tmp_path, described(TRUE))[1].limits


@pytest.mark.parametrize(
    "told",
    [
        replace(TRUE, asks=LimitChanges(memory_bytes=-1)),
        replace(TRUE, fields=(FieldSchema("count", FieldKind.VALUE, b"nope"),)),
        replace(TRUE, fields=(FieldSchema("a b", FieldKind.VALUE, b"0"),)),
        replace(TRUE, fields=(FIELD,) * 2000),
        replace(TRUE, streams=("x" * 1000,)),
        replace(TRUE, class_name=""),
        replace(TRUE, doc="x" * 1_000_000),
    ],
)
def test_description_that_cannot_be_is_refused(tmp_path: Path, told: CharmSchema) -> None:
    """Limits below zero, values that are none, names that are none: all of it was made up."""
    with pytest.raises(CompilerError, match=r"some\.py: its worker described it wrongly: "):
        inspect(tmp_path, described(told))


def test_values_that_were_not_checked_are_refused(tmp_path: Path) -> None:
    """Each value that was asked about either fits or does not."""
    untrue: list[tuple[tuple[dict[str, bytes], ...], tuple[dict[str, str], ...]]] = [
        ((), ()),
        (({},), ({},)),
        (({"count": b"1", "made_up": b"1"},), ({},)),
    ]
    for values, problems in untrue:
        told = described(TRUE, values=values, problems=problems)
        with pytest.raises(CompilerError, match="not all values were checked"):
            inspect(tmp_path, told, {"count": b"1"})


def test_end_of_the_worker_is_told(tmp_path: Path) -> None:
    """A source that ends its worker is refused with what became of it."""
    death = Failure(FailureCause.EXIT, "It ended its worker process with exit code 1.")
    with pytest.raises(CompilerError, match=r"loading it ended the worker: It ended its .* code 1"):
        inspect(tmp_path, InspectFinished(1, None, death))


def check_many(tmp_path: Path, pool: Echo, count: int) -> Inspected:
    """Have so many sets of values checked by workers that answer in frames."""
    database = Database.open(tmp_path / "test.db")
    try:
        pool.inspections = SourceInspections(pool, advice_of(database))
        values = [{"count": b"%d" % number} for number in range(count)]
        return asyncio.run(
            pool.inspections.inspect("", "some.py", values=values, place=Place("demo"))
        )
    finally:
        database.close()


def test_many_values_are_checked_in_portions(tmp_path: Path) -> None:
    """However many sets of values there are, no answer holds more than the protocol takes."""
    pool = Echo([TRUE])
    inspected = check_many(tmp_path, pool, 2 * MOST_SETS + 1)
    assert [MOST_SETS, MOST_SETS, 1] == [len(request.values) for request in pool.asked]
    expected = [{"count": b"%d" % number} for number in range(2 * MOST_SETS + 1)]
    assert (expected, TRUE) == (list(inspected.values), inspected.schema)
    assert 2 * MOST_SETS + 1 == len(inspected.problems)


def test_a_class_that_changes_between_portions_is_refused(tmp_path: Path) -> None:
    """Values are checked against the class that is stored, all of them."""
    pool = Echo([TRUE, replace(TRUE, streams=())])
    with pytest.raises(CompilerError, match=r"some\.py: it is another class each time"):
        check_many(tmp_path, pool, MOST_SETS + 1)
