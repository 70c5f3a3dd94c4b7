"""Transactions: all or nothing, what is called around their commit, and how failures are told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress

import pytest

from bg_charm_service.domain.errors import (
    ChangeInDoubt,
    CommitInDoubt,
    StorageError,
    StorageFull,
)
from bg_charm_service.storage.contract import Storage
from tests.contract.engine import Engine

SPACE = "did:key:space"
NAMES = "abcdz"

#: More than fits on a full disk.
LARGE = b"[%s]" % (b"0," * 4_500_000 + b"0")


class Stop(Exception):
    """Ends a transaction."""


def add(engine: Engine, name: str, value: bytes = b"1") -> None:
    """Write one thing."""
    engine.store.spaces.write_document(SPACE, name, value, 0.0)


def names(opened: Engine | Storage) -> list[str]:
    """Give the names of all that is written."""
    return [name for name in NAMES if opened.store.spaces.document(SPACE, name) is not None]


def names_on_disk(engine: Engine) -> list[str]:
    """Give the names of all that survives a kill, and a loss of power, at this moment."""
    with engine.as_killed() as killed, engine.as_without_power() as dark:
        assert names(dark) == names(killed)
        return names(killed)


def test_transaction_commits_as_one(engine: Engine) -> None:
    """Everything inside is written with one commit, inner transactions included."""
    database, before = engine.database, engine.database.commits
    with database.transaction():
        add(engine, "a")
        with database.transaction():
            add(engine, "b")
        assert database.in_transaction
    assert (["a", "b"], 1, False) == (
        names(engine),
        database.commits - before,
        database.in_transaction,
    )


def test_failed_transaction_leaves_nothing(engine: Engine) -> None:
    """An error undoes everything inside, what an inner transaction wrote too, and comes out."""
    database, before = engine.database, engine.database.commits

    def write_and_fail() -> None:
        with database.transaction():
            add(engine, "a")
            with database.transaction():
                add(engine, "b")
            raise Stop

    with pytest.raises(Stop):
        write_and_fail()
    assert ([], before) == (names(engine), database.commits)
    with database.transaction():
        add(engine, "c")
    assert ["c"] == names(engine)


def test_inner_transaction_that_fails_ends_the_outer_one_only_if_it_comes_out(
    engine: Engine,
) -> None:
    """Joining is no savepoint: what was written before an error that is caught stays written."""
    with engine.transaction():
        with suppress(Stop), engine.transaction():
            add(engine, "a")
            raise Stop
        add(engine, "b")
    assert ["a", "b"] == names(engine)


def test_transaction_that_writes_nothing_is_no_commit(engine: Engine) -> None:
    """One that changed nothing is not counted, but what waits for it is called."""
    told: list[str] = []
    before = engine.database.commits
    with engine.transaction():
        assert [] == names(engine)
        engine.database.after_commit(lambda: told.append("after"))
    assert (before, ["after"]) == (engine.database.commits, told)


def test_what_is_committed_survives_a_crash(engine: Engine) -> None:
    """What a transaction wrote is there after a kill, what none had committed is not."""
    with engine.transaction():
        add(engine, "a")
    engine.crash(during=lambda: add(engine, "b"))
    assert ["a"] == names(engine)


def test_savepoint_undoes_only_itself(engine: Engine) -> None:
    """What fails inside a savepoint is undone; the transaction around it goes on."""
    database = engine.database
    with database.transaction():
        add(engine, "a")
        with suppress(Stop), database.savepoint():
            add(engine, "b")
            with database.savepoint():
                add(engine, "c")
            raise Stop
        with database.savepoint():
            add(engine, "d")
    assert ["a", "d"] == names(engine)


def test_inner_savepoint_undoes_only_itself(engine: Engine) -> None:
    """Savepoints nest: the outer one keeps what the inner one lost."""
    database = engine.database
    with database.transaction(), database.savepoint():
        add(engine, "a")
        with suppress(Stop), database.savepoint():
            add(engine, "b")
            raise Stop
        add(engine, "c")
    assert ["a", "c"] == names(engine)


def test_savepoint_needs_a_transaction(engine: Engine) -> None:
    """Outside of a transaction a savepoint is refused: it would be one, without its callbacks."""
    with pytest.raises(RuntimeError), engine.database.savepoint():
        add(engine, "a")
    assert [] == names(engine)


def test_after_commit_waits_for_the_commit(engine: Engine) -> None:
    """Callbacks run in order once it is on disk, those of an undone savepoint never."""
    database, told = engine.database, list[str]()
    with database.transaction():
        database.after_commit(lambda: told.append("first"))
        with suppress(Stop), database.savepoint():
            database.after_commit(lambda: told.append("undone"))
            raise Stop
        with database.savepoint():
            database.after_commit(lambda: told.append("second"))
        with database.transaction():
            database.after_commit(lambda: told.append("third"))
        assert [] == told
    assert ["first", "second", "third"] == told
    database.after_commit(lambda: told.append("outside"))
    assert ["first", "second", "third", "outside"] == told


def test_after_commit_finds_the_transaction_over(engine: Engine) -> None:
    """What is called back may write: in a transaction of its own."""
    database, before = engine.database, engine.database.commits

    def write() -> None:
        assert not database.in_transaction
        with database.transaction():
            add(engine, "b")

    with database.transaction():
        add(engine, "a")
        database.after_commit(write)
    assert (["a", "b"], 2) == (names(engine), database.commits - before)


def test_rollback_forgets_callbacks(engine: Engine) -> None:
    """A transaction that failed calls nobody back, nor does the next one for it."""
    database, told = engine.database, list[str]()
    with suppress(Stop), database.transaction():
        database.after_commit(lambda: told.append("after"))
        database.before_commit(lambda: told.append("before"))
        raise Stop
    with database.transaction():
        add(engine, "a")
    assert [] == told


def test_before_commit_is_part_of_the_transaction(engine: Engine) -> None:
    """It is called once however often asked for, last, and its writes share the commit."""
    database, before = engine.database, engine.database.commits
    calls: list[list[str]] = []

    def last() -> None:
        calls.append(names(engine))
        add(engine, "z")

    with database.transaction():
        database.before_commit(last)
        database.before_commit(last)
        add(engine, "a")
    assert [["a"]] == calls
    assert (["a", "z"], 1) == (names(engine), database.commits - before)


def test_before_commit_outside_is_at_once(engine: Engine) -> None:
    """Where there is no transaction, there is nothing to wait for."""
    engine.database.before_commit(lambda: add(engine, "a"))
    assert ["a"] == names(engine)


def test_before_commit_that_fails_undoes_everything(engine: Engine) -> None:
    """Its failure is the transaction's."""
    told: list[str] = []

    def fail() -> None:
        add(engine, "z")
        raise Stop

    def write() -> None:
        with engine.transaction():
            add(engine, "a")
            engine.database.after_commit(lambda: told.append("after"))
            engine.database.before_commit(fail)

    with pytest.raises(Stop):
        write()
    assert ([], []) == (names(engine), told)


def test_listeners_hear_what_is_undone(engine: Engine) -> None:
    """Who remembers what was read is told of each rollback and undone savepoint, once undone."""
    database, heard = engine.database, list[list[str]]()
    database.on_undo.append(lambda: heard.append(names(engine)))
    with database.transaction():
        add(engine, "a")
        with suppress(Stop), database.savepoint():
            add(engine, "b")
            raise Stop
        with database.savepoint():
            add(engine, "c")
    assert [["a"]] == heard
    with suppress(Stop), database.transaction():
        add(engine, "d")
        raise Stop
    assert [["a"], ["a", "c"]] == heard


@pytest.mark.parametrize("part", ["transaction", "savepoint"])
def test_full_disk_is_a_storage_error(engine: Engine, part: str) -> None:
    """Whoever writes is told, in the service's own words, that it is the storage that fails."""
    step = nullcontext if part == "transaction" else engine.database.savepoint
    with engine.full(), pytest.raises(StorageFull, match="cannot be used"):
        _fill(engine, step)
    assert [] == names(engine)


def _fill(engine: Engine, step: Callable[[], AbstractContextManager[None]]) -> None:
    with engine.transaction(), step():
        add(engine, "a", LARGE)


def test_nothing_is_written_after_the_engine_gave_up(engine: Engine) -> None:
    """When the engine itself undoes a transaction (disk full), going on writing is refused."""
    with engine.full(), suppress(StorageError), engine.transaction():
        add(engine, "a")
        with pytest.raises(StorageError):
            add(engine, "d", LARGE)
        with pytest.raises(StorageError):
            add(engine, "b")
    assert [] == names(engine)
    with engine.transaction():
        add(engine, "c")
    assert ["c"] == names(engine)


ASKED: dict[str, Callable[[Engine], object]] = {
    "read": names,
    "write": lambda engine: add(engine, "a"),
    "write many": lambda engine: engine.store.health.set_due_all([(1.0, 1)]),
    "probe by a read": lambda engine: engine.database.probe(write=False),
    "probe by a write": lambda engine: engine.database.probe(write=True),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_whatever_fails_outside_a_transaction_is_a_storage_error(
    engine: Engine, ask: Callable[[Engine], object]
) -> None:
    """Plain reads and writes tell of a failing engine in the service's own words too."""
    with engine.failing(), pytest.raises(StorageError, match="cannot be used"):
        ask(engine)
    assert [] == names(engine)


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_failures_are_reported(engine: Engine, ask: Callable[[Engine], object]) -> None:
    """Listeners hear of each failure of the engine once, with what its caller is told."""
    heard: list[StorageError] = []
    engine.database.on_failure.append(heard.append)
    with engine.failing(), pytest.raises(StorageError) as told:
        ask(engine)
    assert [told.value] == heard


def test_failure_in_a_transaction_is_reported_once(engine: Engine) -> None:
    """However many it passes on its way out."""
    heard: list[StorageError] = []
    engine.database.on_failure.append(heard.append)
    with engine.full(), pytest.raises(StorageError) as told, engine.transaction():
        _fill(engine, engine.database.savepoint)
    assert [told.value] == heard


def test_faults_of_others_are_not_reported(engine: Engine) -> None:
    """An error of whoever uses a transaction is not the engine's."""
    heard: list[StorageError] = []
    engine.database.on_failure.append(heard.append)
    with pytest.raises(Stop), engine.transaction():
        raise Stop
    assert [] == heard


def test_rollback_that_failed_is_made_up_for(engine: Engine) -> None:
    """What could not be undone when a transaction failed is undone before the next one begins."""
    with ExitStack() as faults, suppress(StorageError), engine.transaction():
        add(engine, "a")
        faults.enter_context(engine.failing())
        add(engine, "b")
    with engine.transaction():
        add(engine, "c")
    assert ["c"] == names(engine)


def test_probe_shows_that_the_engine_answers(engine: Engine) -> None:
    """By a read, which commits nothing, or by a write, which does; alone or with others."""
    before = engine.database.commits
    engine.database.probe(write=False)
    assert before == engine.database.commits
    engine.database.probe(write=True)
    engine.database.probe(write=True)
    assert before + 2 == engine.database.commits
    with engine.transaction():
        engine.database.probe(write=True)
        add(engine, "a")
    assert (before + 3, ["a"]) == (engine.database.commits, names(engine))


def test_there_is_no_doubt_about_nothing(engine: Engine) -> None:
    """A commit of nothing that reports an error is as good as made, whatever can be read."""
    before = engine.database.commits
    with engine.late_errors(unreadable=9), engine.transaction():
        pass
    engine.database.sole_writer.commits.check()
    assert before == engine.database.commits


def test_commit_that_fails_after_the_fact_is_made(engine: Engine) -> None:
    """An error that comes once all is on disk is none: whatever waits for the commit is called."""
    called: list[str] = []
    with engine.late_errors(unreadable=0), engine.transaction():
        add(engine, "a")
        engine.database.after_commit(lambda: called.append("a"))
    assert (["a"], ["a"]) == (names(engine), called)


def test_nothing_is_decided_on_a_doubtful_commit(engine: Engine) -> None:
    """Where nobody can tell whether a commit was made, no other one is tried in this life."""
    with (
        engine.late_errors(unreadable=1),
        pytest.raises(CommitInDoubt),
        engine.transaction(),
    ):
        add(engine, "a")
    with pytest.raises(CommitInDoubt):
        engine.database.sole_writer.commits.check()
    with pytest.raises(CommitInDoubt), engine.transaction():
        add(engine, "b")
    assert ["a"] == names(engine)
    engine.reopen()
    with engine.transaction():
        add(engine, "c")
    assert ["a", "c"] == names(engine)


def test_what_is_acknowledged_is_on_disk(engine: Engine) -> None:
    """Whoever waits for a commit is called when it is durable, and not before; also with others."""
    found: list[list[str]] = []
    for name in "ab":
        with engine.transaction():
            add(engine, name)
            engine.database.after_commit(lambda: found.append(names_on_disk(engine)))
            before = names_on_disk(engine)
        assert name not in before
        assert name in names_on_disk(engine)
    assert [["a"], ["a", "b"]] == found


WRITES: dict[str, Callable[[Engine, str], None]] = {
    "in a transaction": lambda engine, name: _write(engine, name),
    "by itself": add,
}


def _write(engine: Engine, *written: str) -> None:
    with engine.transaction():
        for name in written:
            add(engine, name)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_refused_is_not_there_after_a_crash(
    engine: Engine, write: Callable[[Engine, str], None]
) -> None:
    """A commit that failed once it was written is undone for good before its caller is told."""
    write(engine, "a")
    with engine.unsynced(1), pytest.raises(StorageError) as refused:
        write(engine, "b")
    assert not isinstance(refused.value, ChangeInDoubt)
    assert ["a"] == names(engine) == names_on_disk(engine)
    write(engine, "c")
    assert ["a", "c"] == names(engine) == names_on_disk(engine)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_a_crash_may_bring_back_is_said_to_be_in_doubt(
    engine: Engine, write: Callable[[Engine, str], None]
) -> None:
    """Where it cannot be undone for good, its caller is told so; until something is committed."""
    heard: list[StorageError] = []
    engine.database.on_failure.append(heard.append)
    write(engine, "a")
    said = "may be there if" if engine.in_doubt is ChangeInDoubt else "cannot be used"
    with engine.unsynced(2), pytest.raises(engine.in_doubt, match=said) as told:
        write(engine, "b")
    assert ([told.value], ["a"]) == (heard, names(engine))
    with engine.as_killed() as killed:
        assert set(names(killed)) <= {"a", "b"}
    write(engine, "c")
    assert ["a", "c"] == names(engine) == names_on_disk(engine)


def test_first_commit_that_fails_is_undone_like_any(engine: Engine) -> None:
    """Also before anything was committed, what failed is not there."""
    with engine.unsynced(1), pytest.raises(StorageError):
        engine.database.probe(write=True)
    with engine.unsynced(2), pytest.raises(engine.in_doubt):
        _write(engine, "a")
    engine.database.probe(write=True)
    assert [] == names_on_disk(engine)


def test_crash_with_a_change_in_doubt(engine: Engine) -> None:
    """The next life goes on from what is there, whichever it is, and keeps it."""
    _write(engine, "a")
    with engine.unsynced(2), suppress(engine.in_doubt):
        _write(engine, "b", "c")
    engine.crash()
    found = names(engine)
    assert found in (["a"], ["a", "b", "c"])
    _write(engine, "d")
    assert [*found, "d"] == names_on_disk(engine)


def test_orderly_end_with_a_change_in_doubt(engine: Engine) -> None:
    """Closing takes only what was committed along."""
    _write(engine, "a")
    with engine.unsynced(2), suppress(engine.in_doubt):
        _write(engine, "b")
    engine.reopen()
    assert ["a"] == names(engine)


def test_failed_commits_one_after_the_other(engine: Engine) -> None:
    """None of them is there after the first one that is made."""
    for name in "abc":
        with engine.unsynced(2), suppress(engine.in_doubt):
            _write(engine, name)
    assert [] == names(engine)
    _write(engine, "d")
    assert ["d"] == names_on_disk(engine)


def test_closing_twice_is_fine(engine: Engine) -> None:
    """What is closed stays so."""
    add(engine, "a")
    engine.storage.close()
    engine.reopen()
    assert ["a"] == names(engine)
