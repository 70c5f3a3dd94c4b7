"""Keeps the tokens of sign-ins good: asks providers, once for all who share one, before runs.

No rotated token is lost. That a provider is about to be asked is on disk before it is asked; its
answer is on disk, in a transaction of its own, before any run begins with it. Where nobody knows
what a provider made of a request (the service died, no answer came), the old token is tried; when
that is refused, a person has to sign in, and is told why. Asked by `supervisor/run_inputs.py`
through the gate, by runs whose token was refused, and by the commands.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from loguru import logger
from msgspec.structs import replace

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import InvalidInput, StorageError
from bg_charm_service.domain.model import FieldKind, FieldSchema
from bg_charm_service.domain.oauth import (
    FRESH_SECONDS,
    OAuthClient,
    Provider,
    SignInKey,
    advice_of,
    fingerprint,
    is_about_client,
    is_over,
    obtained_at,
    plain_end,
    read_answer,
    refresh_token_of,
    renewed_plain,
    secrets_of,
    token_of,
    without_refresh_token,
)
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.domain.redaction import secret_texts
from bg_charm_service.sign_in.messages import AnswerKind, ProviderAnswer, Refresh
from bg_charm_service.sign_in.provider_client import AsksProviders
from bg_charm_service.sign_in.providers import shipped_providers
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import CharmRecord, Claim, SignInRecord
from bg_charm_service.supervisor.charm_switch import CharmSwitch
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.supervisor.storage_health import StorageHealth
from bg_charm_service.supervisor.token_gate import Later, Need, sign_in_of
from bg_charm_service.workers.protocol.messages import TokenGiven, TokenWanted

#: A token is to be good for so much longer than a run may take, in seconds.
MARGIN_SECONDS = 60.0


#: What a provider said stands for so long before it is asked again, in seconds.
_STANDS_SECONDS = 15.0

#: So much longer than a refresh may take a claim waits for it at most, in seconds.
_SLACK_SECONDS = 5.0

#: How often it is tried to store an answer that a disk would not take, in seconds.
_STORE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Client:
    """A provider, and what the operator has registered there."""

    provider: Provider
    client: OAuthClient


@dataclass(slots=True)
class _Refresh:
    """A token that is being renewed, and who waits for it: by charm, its space and until when."""

    done: asyncio.Future[Ending | None]
    until: float
    waiting: dict[int, int] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a provider is asked about, as it is on disk."""

    charm: CharmRecord
    stored: bytes
    record: SignInRecord
    at: Client
    moment: float


class TokenKeeper:
    """The tokens of all sign-ins."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        providers: AsksProviders,
        timeout_seconds: float,
        wake: Callable[[], None],
        label_of: Callable[[int], str | None],
    ) -> None:
        self._label_of = label_of
        self._database = storage.database
        self._store = storage.store
        self._queue = storage.queue
        self._clock = clock
        self._providers = providers
        self._timeout_seconds = timeout_seconds
        self._wake = wake
        self._under_way: dict[SignInKey, _Refresh] = {}
        #: What did not work out lately: how a run ends that needs it, and for how long that stands.
        self._lately: dict[SignInKey, tuple[Ending, float]] = {}
        #: Of each sign-in, the run that had it renewed last.
        self._renewed_for: dict[SignInKey, str] = {}
        self._switch: CharmSwitch | None = None
        self._storage_health: StorageHealth | None = None
        self._is_stopped = False

    def begin(self, switch: CharmSwitch, storage_health: StorageHealth) -> None:
        """Be told of the parts that are made after it."""
        self._switch = switch
        self._storage_health = storage_health

    async def stop(self) -> None:
        """Begin nothing more, and store what providers still answer; stopping twice is fine."""
        self._is_stopped = True
        tasks = [one.task for one in self._under_way.values() if one.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    # What runs ask.

    def check(
        self, claim: Claim, needs: Sequence[Need], timeout_seconds: float
    ) -> Later | Ending | None:
        """Say whether a run may begin, as `TokenGate` has it."""
        needed_until = self._clock.now() + timeout_seconds + MARGIN_SECONDS
        for need in needs:
            verdict = self._check(claim, need, needed_until)
            if verdict is not None:
                return verdict
        return None

    def renew(self, run: InFlight, wanted: TokenWanted, give: Callable[[TokenGiven], None]) -> None:
        """Have a token renewed that was refused to a run, as `TokenGate` has it."""
        declared = run.charm.schema.field(wanted.field)
        link = run.links.get(wanted.field)
        key = None
        if declared is not None:
            key = sign_in_of(run.charm, declared, link, self._store.charms.get)
        if key is None:
            give(TokenGiven(wanted.field, None, _sign_in("that is no sign-in")))
            return
        refresh = self._under_way.get(key)
        if refresh is None:
            is_again = self._renewed_for.get(key) == run.run_id
            if is_again or self._is_another(key, wanted.seen):
                # Somebody has had it renewed meanwhile; and a run has it renewed once.
                self._give(run, wanted, key, give, None)
                return
            ending = self._lately_said(key)
            if ending is not None:
                give(TokenGiven(wanted.field, None, ending))
                return
            self._renewed_for[key] = run.run_id
            refresh = self._begin(key)
            refresh.done.add_done_callback(
                lambda done: self._give(run, wanted, key, give, done.result())
            )
            return

        def go_on(done: asyncio.Future[Ending | None]) -> None:
            # It may have been for a sign-in that somebody has replaced meanwhile.
            if done.result() is None and not self._is_another(key, wanted.seen):
                self.renew(run, wanted, give)
            else:
                self._give(run, wanted, key, give, done.result())

        refresh.done.add_done_callback(go_on)

    def _is_another(self, key: SignInKey, seen: str) -> bool:
        """Whether a sign-in has another token than the one that was seen."""
        assert self._storage_health is not None
        stored = b""
        with self._storage_health.noting():
            stored = self._stored(key)
        return bool(stored) and fingerprint(token_of(stored)) != seen

    def _give(
        self,
        run: InFlight,
        wanted: TokenWanted,
        key: SignInKey,
        give: Callable[[TokenGiven], None],
        ending: Ending | None,
    ) -> None:
        """Give a run the token that there is now, or how it has to end."""
        assert self._storage_health is not None
        value = None
        if ending is None:
            ending = _wait("its token cannot be read now")
            with self._storage_health.noting():
                stored = self._stored(key)
                ending = _sign_in("there is no sign-in any more")
                if stored:
                    run.new_secrets.extend(secret_texts(secrets_of(stored)))
                    value, ending = without_refresh_token(stored), None
        give(TokenGiven(wanted.field, value, ending))

    def _check(self, claim: Claim, need: Need, needed_until: float) -> Later | Ending | None:
        key = need.key
        record = self._plain(claim, key) if need.is_plain else self._known(key)
        if record is None:
            return None if need.is_plain else self._nobody(key)
        if record.problem:
            return _sign_in(record.problem)
        now = self._clock.now()
        is_fresh = 0 <= now - record.obtained_at < FRESH_SECONDS
        if is_fresh or not record.expires_at or record.expires_at >= needed_until:
            return None
        refresh = self._under_way.get(key)
        if refresh is None:
            lately = self._lately_said(key)
            if lately is not None:
                return lately
            if not refresh_token_of(self._stored(key)):
                if record.expires_at > now:
                    # It is as good as it will ever be.
                    return None
                return _sign_in("its token has ended, and the provider gave none to renew it with")
            if need.is_plain:
                self._store.sign_ins.put(record)
            refresh = self._begin(key)
        steady = self._clock.steady()
        if refresh.until <= steady:
            # It takes longer: the machine slept, or no disk takes the answer. A claim that is given
            # back until now would be taken again at once, and nothing else would come to its turn.
            refresh.until = steady + _SLACK_SECONDS
        refresh.waiting[claim.charm_key] = claim.space_key
        return Later(refresh.until)

    def _known(self, key: SignInKey) -> SignInRecord | None:
        """What is known of a sign-in; None where nobody has signed in where its class wants it."""
        record, declared = self._store.sign_ins.get(key), self._declared(key)
        if record is None or declared is None or record.provider != declared.provider:
            return None
        return record

    def _declared(self, key: SignInKey) -> FieldSchema | None:
        charm = self._store.charms.get(key.charm_key)
        return charm.schema.field(key.field) if charm is not None else None

    def _plain(self, claim: Claim, key: SignInKey) -> SignInRecord | None:
        """What is known of a sign-in that a charm keeps itself; None where it is nobody's to renew.

        Whose it is says the integration that the charm belongs to.
        """
        label = self._label_of(claim.charm_key)
        provider = next(
            (one.name for one in shipped_providers().values() if label in one.integrations), ""
        )
        stored = self._stored(key) if provider else b""
        ends_at = plain_end(stored)
        if ends_at is None or provider not in self._store.sign_ins.clients():
            return None
        refresh_hash = fingerprint(refresh_token_of(stored))
        record = self._store.sign_ins.get(key)
        if record is None or record.refresh_hash != refresh_hash:
            # Its charm, or a person, has put another one there.
            return SignInRecord(key, provider, ends_at, 0.0, refresh_hash)
        return replace(record, expires_at=ends_at)

    def _lately_said(self, key: SignInKey) -> Ending | None:
        ending, until = self._lately.get(key, (None, 0.0))
        return ending if self._clock.steady() < until else None

    def _nobody(self, key: SignInKey) -> Ending:
        charm, declared = self._store.charms.get(key.charm_key), self._declared(key)
        if charm is None or declared is None:
            return _sign_in("the charm that has its sign-in was removed")
        space = self._store.spaces.get(charm.space_key)
        name = space.name if space is not None and space.name else charm.ref.space
        return _sign_in(
            f"nobody has signed in: `bg-charm-service auth login {declared.provider} --space "
            f"{shlex.quote(name)}`"
        )

    # What is done about it.

    async def refresh_now(self, key: SignInKey) -> Ending | None:
        """Renew a token now, whatever it is good for; an ending where that does not work out."""
        refresh = self._under_way.get(key) or self._begin(key)
        return await asyncio.shield(refresh.done)

    def forget_lately(self, key: SignInKey) -> None:
        """Let what a provider said of a sign-in stand no longer: there is a new one."""
        self._lately.pop(key, None)

    def client(self, provider: str) -> Client | None:
        """The client at a provider; None where the operator has given none."""
        stored = self._store.sign_ins.client(provider)
        if stored is None:
            return None
        shipped = shipped_providers().get(provider)
        if stored.description or shipped is None:
            shipped = msgspec.json.decode(stored.description, type=Provider)
        return Client(shipped, stored.client)

    def _begin(self, key: SignInKey) -> _Refresh:
        loop = asyncio.get_running_loop()
        until = self._clock.steady() + self._timeout_seconds + _SLACK_SECONDS
        refresh = _Refresh(loop.create_future(), until)
        self._under_way[key] = refresh
        refresh.task = loop.create_task(self._refresh(key, refresh))
        return refresh

    async def _refresh(self, key: SignInKey, refresh: _Refresh) -> None:
        ending: Ending | None = _wait("its token could not be renewed now")
        try:
            ending = await self._renew(key)
        except StorageError:
            # Told where it happened; nothing was asked.
            pass
        except Exception:
            logger.bind(event="token_fault").exception("A token could not be renewed")
        finally:
            if ending is not None and ending.kind is not EndingKind.SIGN_IN:
                self._lately[key] = (ending, self._clock.steady() + _STANDS_SECONDS)
            del self._under_way[key]
            try:
                self._bring_on(refresh)
            finally:
                refresh.done.set_result(ending)

    def _bring_on(self, refresh: _Refresh) -> None:
        """Let those run who have waited; where the disk fails, their time comes by itself."""
        assert self._storage_health is not None
        if refresh.waiting:
            with self._storage_health.noting(), self._database.transaction():
                steady = self._clock.steady()
                for charm_key, space_key in refresh.waiting.items():
                    self._queue.bring_on(space_key, charm_key, refresh.until, steady)
        self._wake()

    async def _renew(self, key: SignInKey) -> Ending | None:
        assert self._storage_health is not None
        self._storage_health.check_room()
        if self._is_stopped:
            return _wait("the service is stopping")
        asked = self._note_asked(key)
        if isinstance(asked, Ending):
            return asked
        deed = Refresh(asked.at.provider, asked.at.client, refresh_token_of(asked.stored))
        answer = await self._providers.ask(deed)
        while True:
            try:
                with self._database.transaction():
                    return self._take_in(key, asked, answer)
            except StorageError:
                if answer.kind is not AnswerKind.DONE or self._is_stopped:
                    raise
            # A rotated token is nowhere but here: it is stored as soon as the disk takes it.
            await asyncio.sleep(_STORE_SECONDS)

    def _note_asked(self, key: SignInKey) -> _Asked | Ending:
        """Put on disk that a provider is about to be asked; an ending where it cannot be."""
        with self._database.transaction():
            record, stored = self._store.sign_ins.get(key), self._stored(key)
            charm = self._store.charms.get(key.charm_key)
            if record is None or charm is None or not stored:
                return self._nobody(key)
            if record.problem:
                return _sign_in(record.problem)
            if not refresh_token_of(stored):
                return _sign_in("its token is refused, and there is none to renew it with")
            at = self.client(record.provider)
            if at is None:
                return self._settle_refused(
                    key,
                    record,
                    f"the client of {record.provider} is missing: `bg-charm-service auth client "
                    f"{record.provider}`",
                )
            asked = record if record.asked_at else replace(record, asked_at=self._clock.now())
            self._store.sign_ins.put(asked)
            return _Asked(charm, stored, record, at, self._clock.now())

    def _take_in(self, key: SignInKey, asked: _Asked, answer: ProviderAnswer) -> Ending | None:
        """Store what a provider answered, inside a transaction; an ending for no new token."""
        record = self._store.sign_ins.get(key)
        is_same = refresh_token_of(self._stored(key)) == refresh_token_of(asked.stored)
        if record is None or not is_same:
            # Somebody has signed out, or in anew, meanwhile: that counts.
            return None if record is not None else self._nobody(key)
        was_in_doubt = asked.record.asked_at
        match answer.kind:
            case AnswerKind.DONE:
                return self._take_token(key, asked, record, answer)
            case AnswerKind.REFUSED if is_over(answer.error) or is_about_client(answer.error):
                why = answer.why or f"{record.provider} refuses: {answer.error}"
                advice = advice_of(shipped_providers().get(record.provider), answer.error)
                if was_in_doubt and is_over(answer.error):
                    why += (
                        "; what it had answered before that, since "
                        f"{_moment(was_in_doubt)}, was lost with the service or on its way, and "
                        "the token in it too"
                    )
                elif advice:
                    why += advice
                elif is_about_client(answer.error):
                    why += (
                        f": is it the client of `bg-charm-service auth client {record.provider}`?"
                    )
                return self._settle_refused(key, record, why)
            case AnswerKind.UNASKED | AnswerKind.BUSY | AnswerKind.FAULT | AnswerKind.REFUSED:
                # It is known that this request did nothing there.
                self._store.sign_ins.put(replace(record, asked_at=was_in_doubt))
        if answer.kind in (AnswerKind.BUSY, AnswerKind.FAULT):
            return Ending(EndingKind.WAIT, answer.seconds, answer.why)
        return Ending(
            EndingKind.DOWN, None, answer.why, answer.host or asked.at.provider.token_host
        )

    def _take_token(
        self, key: SignInKey, asked: _Asked, record: SignInRecord, answer: ProviderAnswer
    ) -> Ending | None:
        body = json.loads(answer.body)
        now = self._clock.now()
        found = read_answer(body, asked_at=asked.moment, answered_at=now, before=asked.stored)
        if found is None:
            host = answer.host
            return Ending(EndingKind.DOWN, None, f"{host} answered without a token", host)
        stored, declared = found.stored, asked.charm.schema.field(key.field)
        if declared is not None and declared.kind is not FieldKind.OAUTH:
            stored = renewed_plain(asked.stored, stored)
        self._store.cells.write(asked.charm, key.field, stored)
        refresh_hash = fingerprint(refresh_token_of(stored))
        self._store.sign_ins.put(
            SignInRecord(
                key,
                record.provider,
                found.expires_at,
                obtained_at(asked.moment, now),
                refresh_hash,
            )
        )
        self._let_run(key)
        ref = asked.charm.ref
        log = logger.bind(event="token_renewed", space=ref.space, charm=ref.charm_id)
        self._database.after_commit(
            lambda: log.info("The token of {} at {} was renewed", ref, record.provider)
        )
        return None

    def _settle_refused(self, key: SignInKey, record: SignInRecord, why: str) -> Ending:
        """Keep that a person has to sign in again, and why."""
        self._store.sign_ins.put(replace(record, asked_at=0.0, problem=why))
        return _sign_in(why)

    def _let_run(self, key: SignInKey) -> None:
        assert self._switch is not None
        self._switch.sign_in(key.charm_key, (key.field,))

    def _stored(self, key: SignInKey) -> bytes:
        """A sign-in as it is stored; empty where there is none."""
        charm = self._store.charms.get(key.charm_key)
        if charm is None or charm.removed_at is not None:
            return b""
        try:
            cell = self._store.cells.read(charm, key.field)
        except InvalidInput:
            # Its bytes are of another store: told by the doctor.
            return b""
        return cell.value if cell is not None and cell.value is not None else b""


def _sign_in(why: str) -> Ending:
    return Ending(EndingKind.SIGN_IN, None, why)


def _wait(why: str) -> Ending:
    return Ending(EndingKind.WAIT, None, why)


def _moment(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
