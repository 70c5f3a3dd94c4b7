"""Who keeps tokens good: one request for all, and its answer kept until a disk takes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.model import (
    POLL_EVENT,
    CharmHealth,
    CharmRef,
    CharmSchema,
    FieldKind,
    FieldSchema,
    Origin,
)
from bg_charm_service.domain.oauth import (
    OAuthClient,
    Provider,
    SignInKey,
    fingerprint,
    refresh_token_of,
    token_of,
)
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.service.token_keeper import MARGIN_SECONDS, TokenKeeper
from bg_charm_service.sign_in.messages import AnswerKind, Deed, ProviderAnswer, Refresh
from bg_charm_service.storage.records import CharmRecord, Claim, SignInRecord, StoredClient
from bg_charm_service.supervisor.charm_switch import CharmSwitch
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.supervisor.storage_health import StorageHealth
from bg_charm_service.supervisor.token_gate import Later, Need
from bg_charm_service.supervisor.waiting_charms import WaitingCharms
from bg_charm_service.workers.protocol.messages import TokenGiven, TokenWanted
from tests.contract.engine import SQLite

OWNER = Identity.from_passphrase("the owner")
NOW = 1_790_000_000.0
TIMEOUT_SECONDS = 30.0

PROVIDER = Provider("fake", "https://example.org/authorize", "https://example.org/token")


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = NOW

    def now(self) -> float:
        return self.seconds

    def steady(self) -> float:
        return self.seconds

    def awake(self) -> float:
        return self.seconds


async def turn_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something has happened in it."""
    while not condition():  # noqa: ASYNC110 - what happens is other turns of this loop
        await asyncio.sleep(0)


class Provided:
    """A provider whose answers the test gives, each once it is asked."""

    def __init__(self) -> None:
        self.asked: list[Deed] = []
        self.answers: list[asyncio.Future[ProviderAnswer]] = []

    async def ask(self, deed: Deed) -> ProviderAnswer:
        self.asked.append(deed)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    async def wait_until_asked(self, times: int = 1) -> None:
        """Let the loop turn until it was asked so often."""
        await turn_until(lambda: len(self.asked) >= times)

    def answer(self, **said: Any) -> None:
        """Answer the last request with tokens."""
        self.give(ProviderAnswer(AnswerKind.DONE, json.dumps(said).encode(), host="example.org"))

    def give(self, answer: ProviderAnswer) -> None:
        """Answer the last request."""
        self.answers[-1].set_result(answer)


class Bench:
    """A keeper on an empty database."""

    def __init__(self) -> None:
        self.engine = SQLite()
        self.clock = Time()
        self.woken = 0
        self.engine.store.secrets.create(OWNER.did())
        self._begin_life()
        client = OAuthClient("id", "secret")
        self.store.sign_ins.put_client(
            StoredClient("fake", msgspec.json.encode(PROVIDER), client), NOW
        )
        self.charm = self.add_charm()
        self.key = SignInKey(self.charm.charm_key, "auth")

    def _begin_life(self) -> None:
        storage = self.engine.storage
        self.store = storage.store
        self.provider = Provided()
        planner = PollPlanner(storage, self.clock, interval_seconds=60, max_concurrent=1)
        polled = PolledCharms(self.store)
        waiting = WaitingCharms(storage, self.clock, planner)
        self.keeper = TokenKeeper(
            storage, self.clock, self.provider, 10.0, self._wake, lambda _: None
        )
        self.health = StorageHealth(self.clock)
        switch = CharmSwitch(storage, self.clock, planner, polled, waiting)
        self.keeper.begin(switch, self.health)

    def kill(self) -> None:
        """Let the service die as by SIGKILL, and another one open what it left."""
        self.engine.crash()
        self.engine.store.secrets.unlock(OWNER)
        self._begin_life()

    def _wake(self) -> None:
        self.woken += 1

    def add_charm(self) -> CharmRecord:
        """Add the charm that signs in."""
        home = self.store.spaces.ensure("did:key:here", name="", owner=OWNER.did(), now=NOW)
        field = FieldSchema("auth", FieldKind.OAUTH, None, "fake")
        return self.store.charms.add(
            CharmRef("did:key:here", "mail"),
            home.space_key,
            cause="mail",
            file_name="mail.py",
            source="",
            schema=CharmSchema("Mail", "Mail", "", (field,), ("bgUpdater",)),
            now=NOW,
        )

    def sign_in(self, token: str, refresh_token: str) -> None:
        """Keep a sign-in whose token has ended."""
        stored = {"token": token, "refreshToken": refresh_token, "expiresAt": 0, "scope": ["a"]}
        self.store.cells.write(self.charm, "auth", json.dumps(stored).encode())
        record = SignInRecord(self.key, "fake", 1.0, NOW - 3600, fingerprint(refresh_token))
        self.store.sign_ins.put(record)

    def claim(self) -> Claim:
        """A claimed poll of the charm."""
        queue, charm = self.engine.queue, self.charm
        queue.put_poll(
            charm.space_key,
            charm.charm_key,
            charm.ref,
            "bgUpdater",
            POLL_EVENT,
            origin=Origin.POLL,
            run_at=NOW,
            now=NOW,
        )
        (claim,) = queue.claim(charm.space_key, 1, self.clock.steady())
        return claim

    def check(self, claim: Claim) -> Later | Ending | None:
        """Ask whether the run may begin."""
        return self.keeper.check(claim, [Need(self.key)], TIMEOUT_SECONDS)

    @property
    def stored(self) -> tuple[str, str]:
        """The tokens that are on disk."""
        cell = self.store.cells.read(self.charm, "auth")
        assert cell is not None
        assert cell.value is not None
        return token_of(cell.value), refresh_token_of(cell.value)

    @property
    def record(self) -> SignInRecord:
        """What is known of the sign-in."""
        found = self.store.sign_ins.get(self.key)
        assert found is not None
        return found

    def run(self) -> InFlight:
        """A run of the charm that is under way."""
        return InFlight(self.claim(), self.charm, health=CharmHealth())


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A keeper, and a sign-in whose token has ended."""
    opened = Bench()
    opened.sign_in("old", "old refresh")
    yield opened
    opened.engine.close()


def play(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story to its end."""

    async def played() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(played())


async def settled(bench: Bench) -> None:
    """Wait until nothing is asked for any more."""
    await bench.keeper.stop()


def test_that_it_is_asked_is_on_disk_before(bench: Bench) -> None:
    """With the old token; and afterwards the new one is, and nothing is in doubt."""

    async def story() -> None:
        verdict = bench.check(bench.claim())
        assert isinstance(verdict, Later)
        assert verdict.until > bench.clock.steady() + 10
        await bench.provider.wait_until_asked()

        assert NOW == bench.record.asked_at
        (deed,) = bench.provider.asked
        assert isinstance(deed, Refresh)
        assert "old refresh" == deed.refresh_token

        bench.clock.seconds += 5
        bench.provider.answer(access_token="new", refresh_token="new refresh", expires_in=3600)
        await settled(bench)
        assert ("new", "new refresh") == bench.stored
        expected = (0.0, NOW + 5, fingerprint("new refresh"))
        known = bench.record
        assert expected == (known.asked_at, known.obtained_at, known.refresh_hash)
        # Its time began when it was asked for, and not when somebody heard of it.
        assert NOW + 3600 == known.expires_at

    play(story)


@pytest.mark.parametrize(("left_seconds", "is_good"), [(89, False), (91, True)])
def test_how_long_a_token_has_to_be_good(
    bench: Bench, left_seconds: float, *, is_good: bool
) -> None:
    """For the time that the run may take, and a minute."""
    assert 90 == TIMEOUT_SECONDS + MARGIN_SECONDS
    known = msgspec.structs.replace(bench.record, expires_at=NOW + left_seconds)
    bench.store.sign_ins.put(known)

    async def story() -> None:
        assert is_good == (bench.check(bench.claim()) is None)
        if not is_good:
            await bench.provider.wait_until_asked()
            bench.provider.answer(access_token="new")
        await settled(bench)

    play(story)


def test_a_charm_that_waits_is_brought_on(bench: Bench) -> None:
    """Its claim is given back until the refresh has to be over, and taken up when it is."""

    async def story() -> None:
        claim = bench.claim()
        verdict = bench.check(claim)
        assert isinstance(verdict, Later)
        bench.engine.queue.release(claim, verdict.until)
        space_key = bench.charm.space_key
        assert [] == list(bench.engine.queue.claim(space_key, 1, bench.clock.steady()))
        await bench.provider.wait_until_asked()
        bench.provider.answer(access_token="new", expires_in=3600)
        await settled(bench)

        (again,) = bench.engine.queue.claim(space_key, 1, bench.clock.steady())
        assert (1, 1) == (again.job.attempt, again.job.deliveries)
        assert bench.woken
        assert bench.check(again) is None

    play(story)


def test_a_refresh_that_outlasts_its_time_is_waited_for_on(bench: Bench) -> None:
    """The machine slept meanwhile: a claim that is given back until now would come at once again.

    The loop would claim it for ever, and never hear of the answer.
    """

    async def story() -> None:
        claim = bench.claim()
        assert isinstance(bench.check(claim), Later)
        await bench.provider.wait_until_asked()
        bench.clock.seconds += 3600

        verdict = bench.check(claim)

        assert isinstance(verdict, Later)
        assert verdict.until > bench.clock.steady()
        bench.engine.queue.release(claim, verdict.until)
        bench.provider.answer(access_token="new", expires_in=7200)
        await settled(bench)
        space_key, steady = bench.charm.space_key, bench.clock.steady()
        assert 1 == len(bench.engine.queue.claim(space_key, 1, steady))

    play(story)


def test_an_answer_that_no_disk_takes_is_kept_until_one_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotated token is nowhere else."""
    monkeypatch.setattr("bg_charm_service.service.token_keeper._STORE_SECONDS", 0)
    token, refresh_token = "n" * 9000, "r" * 9000

    async def story() -> None:
        waiting = asyncio.create_task(bench.keeper.refresh_now(bench.key))
        await bench.provider.wait_until_asked()
        with bench.engine.full():
            bench.provider.answer(access_token=token, refresh_token=refresh_token)
            for _ in range(50):
                await asyncio.sleep(0)
            assert ("old", "old refresh") == bench.stored
            assert not waiting.done()
        assert await waiting is None
        assert (token, refresh_token) == bench.stored
        assert 1 == len(bench.provider.asked)

    play(story)


def test_nothing_is_asked_without_room_to_store_the_answer(bench: Bench) -> None:
    """On a full disk the token waits, and so does the run."""
    bench.health.has_room = False

    async def story() -> None:
        ending = await bench.keeper.refresh_now(bench.key)
        assert ending is not None
        assert EndingKind.WAIT is ending.kind
        assert [] == bench.provider.asked

    play(story)


def test_two_renewals_make_one_refresh(bench: Bench) -> None:
    """Both saw the same token refused; a third, which saw it too, comes late and gets the new."""

    async def story() -> None:
        run = bench.run()
        given: list[TokenGiven] = []
        wanted = TokenWanted(run.run_id, "auth", fingerprint("old"))
        for _ in range(2):
            bench.keeper.renew(run, wanted, given.append)
        await bench.provider.wait_until_asked()
        bench.provider.answer(access_token="new", expires_in=3600)
        await settled(bench)
        bench.keeper.renew(run, wanted, given.append)
        await turn_until(lambda: len(given) == 3)

        assert 1 == len(bench.provider.asked)
        tokens = [json.loads(one.value or b"{}") for one in given]
        assert ["new", "new", "new"] == [one["token"] for one in tokens]
        assert not any("refreshToken" in one for one in tokens)

    play(story)


def test_a_run_has_its_token_renewed_once(bench: Bench) -> None:
    """Refused again, it gets the same, and ends by what its provider says of that."""

    async def story() -> None:
        run = bench.run()
        given: list[TokenGiven] = []
        bench.keeper.renew(run, TokenWanted(run.run_id, "auth", fingerprint("old")), given.append)
        await bench.provider.wait_until_asked()
        bench.provider.answer(access_token="newer", expires_in=3600)
        await turn_until(lambda: bool(given))
        newer = TokenWanted(run.run_id, "auth", fingerprint("newer"))
        bench.keeper.renew(run, newer, given.append)

        assert 1 == len(bench.provider.asked)
        assert ["newer", "newer"] == [json.loads(one.value or b"{}")["token"] for one in given]
        assert "newer" in run.hidden_texts

    play(story)


def test_a_refresh_of_a_sign_in_that_was_replaced_renews_no_other(bench: Bench) -> None:
    """Refused the token of the new one, a run gets another, not that one (simulated world 25)."""

    async def story() -> None:
        first = asyncio.create_task(bench.keeper.refresh_now(bench.key))
        await bench.provider.wait_until_asked()
        bench.sign_in("another", "another refresh")
        run = bench.run()
        given: list[TokenGiven] = []
        wanted = TokenWanted(run.run_id, "auth", fingerprint("another"))
        bench.keeper.renew(run, wanted, given.append)
        bench.provider.answer(access_token="new", refresh_token="new refresh")
        await first
        await bench.provider.wait_until_asked(2)
        bench.provider.answer(access_token="newer", expires_in=3600)
        await turn_until(lambda: bool(given))

        assert ["newer"] == [json.loads(one.value or b"{}")["token"] for one in given]

    play(story)


def test_a_field_that_is_no_sign_in_is_not_renewed(bench: Bench) -> None:
    """Whatever a worker asks for."""
    run = bench.run()
    given: list[TokenGiven] = []
    for field in ("other", ""):
        bench.keeper.renew(run, TokenWanted(run.run_id, field, ""), given.append)
    assert [None, None] == [one.value for one in given]
    assert [] == bench.provider.asked


@pytest.mark.parametrize("signs_in_anew", [True, False])
def test_who_signs_in_or_out_meanwhile_counts(bench: Bench, *, signs_in_anew: bool) -> None:
    """The answer is about a sign-in that is no more."""

    async def story() -> None:
        waiting = asyncio.create_task(bench.keeper.refresh_now(bench.key))
        await bench.provider.wait_until_asked()
        if signs_in_anew:
            bench.sign_in("another", "another refresh")
        else:
            bench.store.sign_ins.drop(bench.key)
            bench.store.cells.drop(bench.charm.charm_key, "auth")
        bench.provider.answer(access_token="new", refresh_token="new refresh")
        ending = await waiting

        if signs_in_anew:
            assert ending is None
            assert ("another", "another refresh") == bench.stored
        else:
            assert ending is not None
            assert EndingKind.SIGN_IN is ending.kind
            assert bench.store.cells.read(bench.charm, "auth") is None

    play(story)


def test_a_charm_that_is_removed_meanwhile(bench: Bench) -> None:
    """Nothing of the answer is stored for it."""

    async def story() -> None:
        waiting = asyncio.create_task(bench.keeper.refresh_now(bench.key))
        await bench.provider.wait_until_asked()
        bench.store.charms.mark_removed(bench.charm.charm_key, NOW)
        bench.provider.answer(access_token="new", refresh_token="new refresh")
        assert await waiting is not None
        assert [] == bench.store.sign_ins.all()

    play(story)


@pytest.mark.parametrize(
    ("answer", "kind", "is_in_doubt"),
    [
        (ProviderAnswer(AnswerKind.DOWN, host="example.org"), EndingKind.DOWN, True),
        (ProviderAnswer(AnswerKind.UNASKED, host="example.org"), EndingKind.DOWN, False),
        (ProviderAnswer(AnswerKind.BUSY, seconds=70), EndingKind.WAIT, False),
        (ProviderAnswer(AnswerKind.FAULT), EndingKind.WAIT, False),
        (ProviderAnswer(AnswerKind.REFUSED, error="slow_down"), EndingKind.DOWN, False),
        (ProviderAnswer(AnswerKind.REFUSED, error="invalid_grant"), EndingKind.SIGN_IN, False),
        (ProviderAnswer(AnswerKind.REFUSED, error="invalid_client"), EndingKind.SIGN_IN, False),
        (ProviderAnswer(AnswerKind.DONE, b"{}", host="example.org"), EndingKind.DOWN, True),
    ],
)
def test_what_an_answer_without_a_token_means(
    bench: Bench, answer: ProviderAnswer, kind: EndingKind, *, is_in_doubt: bool
) -> None:
    """For the run, and for what is known: only where nobody knows what was done, that is kept."""

    async def story() -> None:
        waiting = asyncio.create_task(bench.keeper.refresh_now(bench.key))
        await bench.provider.wait_until_asked()
        bench.provider.give(answer)
        ending = await waiting

        assert ending is not None
        assert (kind, answer.seconds) == (ending.kind, ending.seconds)
        assert is_in_doubt == bool(bench.record.asked_at)
        assert ("old", "old refresh") == bench.stored
        assert (kind is EndingKind.SIGN_IN) == bool(bench.record.problem)

    play(story)


def test_what_a_provider_said_stands_for_a_moment(bench: Bench) -> None:
    """Others who need it meanwhile end the same way, without asking; later it is asked again."""

    async def story() -> None:
        waiting = asyncio.create_task(bench.keeper.refresh_now(bench.key))
        await bench.provider.wait_until_asked()
        bench.provider.give(ProviderAnswer(AnswerKind.DOWN, why="down", host="example.org"))
        ending = await waiting
        claim = bench.claim()
        assert ending == bench.check(claim)
        assert 1 == len(bench.provider.asked)

        bench.clock.seconds += 20
        assert isinstance(bench.check(claim), Later)
        await bench.provider.wait_until_asked(2)
        bench.provider.answer(access_token="new")
        await settled(bench)

    play(story)


def test_a_token_that_nobody_can_renew(bench: Bench) -> None:
    """It is used while it is good, however short that is; then a person has to sign in."""
    bench.sign_in("only", "")
    known = msgspec.structs.replace(bench.record, expires_at=NOW + 5)
    bench.store.sign_ins.put(known)
    claim = bench.claim()

    async def story() -> None:
        assert bench.check(claim) is None
        bench.clock.seconds += 6
        ending = bench.check(claim)
        assert isinstance(ending, Ending)
        assert EndingKind.SIGN_IN is ending.kind
        assert [] == bench.provider.asked

    play(story)


def test_a_token_without_an_end(bench: Bench) -> None:
    """It is good until it is refused."""
    bench.store.sign_ins.put(msgspec.structs.replace(bench.record, expires_at=0.0))

    async def story() -> None:
        assert bench.check(bench.claim()) is None

    play(story)


def test_a_stop_hears_the_provider_out(bench: Bench) -> None:
    """What was asked is stored, and nothing is begun any more."""

    async def story() -> None:
        waiting = asyncio.create_task(bench.keeper.refresh_now(bench.key))
        await bench.provider.wait_until_asked()
        stopping = asyncio.create_task(bench.keeper.stop())
        await asyncio.sleep(0)
        bench.provider.answer(access_token="new", refresh_token="new refresh")
        await stopping
        assert await waiting is None
        assert ("new", "new refresh") == bench.stored
        assert await bench.keeper.refresh_now(bench.key) is not None
        assert 1 == len(bench.provider.asked)

    play(story)
