"""People at work: commands at the worst moments, through the production commands.

A command may be refused, may fail with the disk and may be cut off by a kill. What its caller was
told has to be true all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Coroutine
from typing import Any

from bg_charm_service.domain.errors import (
    ChangeInDoubt,
    CommitInDoubt,
    Conflict,
    NotFound,
    ServiceError,
)
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.oauth import SignInKey
from bg_charm_service.domain.views import NewCharm
from bg_charm_service.service.bootstrap import Service
from bg_charm_service.service.commands.letters import LetterChoice
from bg_charm_service.service.hooks.intake import OpenHook
from bg_charm_service.storage.records import SignInRecord
from bg_charm_service.supervisor.batch_policy import MOST_RUNS
from tests.simulation.cast import AUTH, POST, PROVIDER, SIDES, SIGN_IN, Kind, source_of
from tests.simulation.plan import FAVOURED_SHARE, Plan, draw_temper
from tests.simulation.world import LISTER, Member, Violated, World

#: Expressions that people set; each names a time within a day.
SCHEDULES = ("*/5 * * * *", "0 * * * *", "30 2 * * *", "15,45 */6 * * *", "0 8,20 * * *")

Command = Callable[[Service, Member], Coroutine[Any, Any, object]]


class Operators:
    """Those who give commands, over all lives of the service."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plan: Plan = world.plan
        self._random = random.Random(f"operators {world.plan.seed}")
        self._number = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._commands: list[tuple[int, Command]] = [
            (6, self._run_now),
            (6, self._send),
            (3, self._send_many),
            (3, self._disable),
            (3, self._enable),
            (2, self._register),
            (1, self._unregister),
            (1, self._remove),
            (2, self._requeue),
            (1, self._drop_letters),
            (2, self._set_note),
            (2, self._update),
            (1, self._set_interval),
            (1, self._set_schedule),
            (2, self._add),
            (1, self._flood),
            (2, self._list),
            (1, self._look),
            (2, self._pause),
            (3, self._resume),
            (3, self._cancel),
            (1, self._purge),
            (2, self._send_later),
            (1, self._forget),
        ]
        if self._plan.readers:
            self._commands += [(3, self._sign_in), (4, self._renew), (1, self._sign_out)]
        #: Deliveries that may come again: to whom, with which id, and which event.
        self._delivered: list[tuple[float, Member, str, str]] = []
        if self._plan.hooked:
            self._commands += [(12, self._deliver), (3, self._poke)]

    async def work(self, world: World, service: Service) -> None:
        """Give commands until it is calm, each without waiting for the ones before."""
        self._under_way.clear()
        while not world.members:
            await self._populate(service)
        while not world.is_calm:
            await world.bad_moment(self._random)
            for _ in range(self._random.choice([1, 1, 1, 2, 6])):
                if not world.is_calm:
                    self.give(service)
        await asyncio.Event().wait()

    def give(self, service: Service) -> None:
        """Give one command."""
        weights = [weight for weight, _ in self._commands]
        (_, command), *_ = self._random.choices(self._commands, weights)
        favourites = self._world.favourite.split()
        wanted = ""
        if favourites and self._random.random() < FAVOURED_SHARE:
            wanted = self._random.choice(favourites)
        if self._world.wanted_commands:
            wanted = self._world.wanted_commands.pop()
        if wanted:
            command = next(one for _, one in self._commands if one.__name__ == f"_{wanted}")
        member = self._random.choice(list(self._world.members.values()))
        task = asyncio.create_task(self._carry_out(command, service, member))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settle(self, service: Service) -> None:
        """Have every charm polled again, once nothing goes wrong any more."""
        # Commands that were given a moment ago begin before these.
        await asyncio.sleep(0)
        with contextlib.suppress(Conflict):
            await service.commands.pauses.resume_all()
        for space in service.commands.system.spaces():
            with contextlib.suppress(Conflict):
                await service.commands.pauses.resume_space(space.did)
        for member in self._world.members.values():
            try:
                # Times of its own may be further away than it is calm.
                service.commands.polling.reset_schedule(member.ref)
                with contextlib.suppress(Conflict, NotFound):
                    await service.commands.pauses.resume_charm(member.ref)
                await service.commands.polling.register(member.ref, "manual")
            except ServiceError as error:
                if service.parts.store.charms.find(member.ref) is not None:
                    raise Violated(f"{member.ref} cannot be registered: {error}") from error
            if member.kind is Kind.SIGNED:
                # What was asked before it was calm may still come to a bad end, of another one.
                await self._sign_in(service, member)

    def check_all_answered(self) -> None:
        """Check that no command waits for ever."""
        if self._under_way:
            names = sorted(task.get_name() for task in self._under_way)
            raise Violated(f"{len(names)} commands were never answered: {', '.join(names)}")

    async def _carry_out(self, command: Command, service: Service, member: Member) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(command.__name__.strip("_"))
        self._world.report.commands += 1
        try:
            await command(service, member)
            self._world.note(f"{task.get_name()} of {member.ref.charm_id} is done")
            self._world.check_written(self._world.disk.connection, "a command is answered")
        except ServiceError as error:
            self._world.report.faults["command refused"] += 1
            self._world.note(f"{task.get_name()} of {member.ref.charm_id} fails: {error}")
        except Violated as violated:
            # Nobody waits for this task.
            self._world.truth.problems.append(str(violated))

    async def _populate(self, service: Service) -> None:
        mailbox = None
        for number in range(self._plan.charms):
            kinds = [Kind.MAILBOX, Kind.COUNTER, Kind.SENDER]
            kind = Kind.MAILBOX if mailbox is None else self._random.choice(kinds)
            added = await self._add_one(service, kind, number, mailbox)
            mailbox = mailbox or added
        if self._plan.takers:
            await self._populate_hubs(service)
        if self._plan.readers:
            await self._populate_signed(service)
        for number in range(self._plan.tellers):
            await self._add_one(service, Kind.TELLER, 3000 + number, None)
        for number in range(self._plan.hooked):
            await self._add_one(service, Kind.HOOKED, 4000 + number, None)

    async def _populate_hubs(self, service: Service) -> None:
        """Add a hub with its takers, in one space or in several."""
        hub = await self._add_one(service, Kind.HUB, 1000, None)
        for number in range(self._plan.takers):
            await self._add_one(service, Kind.TAKER, 1001 + number, hub)

    async def _populate_signed(self, service: Service) -> None:
        """Add a charm that signs in, and others that share that."""
        signed = await self._add_one(service, Kind.SIGNED, 2000, None)
        for number in range(self._plan.readers):
            await self._add_one(service, Kind.READER, 2001 + number, signed)
        if signed is not None:
            with contextlib.suppress(ServiceError):
                await self._sign_in(service, signed)

    async def _add_one(
        self, service: Service, kind: Kind, number: int, mailbox: Member | None
    ) -> Member | None:
        space = f"space {number % self._plan.spaces}"
        links = {}
        if kind is Kind.SENDER:
            if mailbox is None:
                return None
            links["out"] = f"{mailbox.ref}/{POST}"
        if kind is Kind.TAKER:
            if mailbox is None:
                return None
            links = {side: f"{mailbox.ref}/{side}" for side in SIDES}
        shared = {}
        if kind is Kind.READER:
            if mailbox is None:
                return None
            shared = {AUTH: f"{mailbox.ref}/{AUTH}"}
        new = NewCharm(
            source_of(kind, 0),
            f"charm{number}.py",
            space,
            None,
            values={},
            links=shared,
            writable_links=links,
            cause=None,
            register=True,
            integration="manual",
        )
        try:
            added = await service.commands.charms.add(new)
        except ServiceError:
            return None
        ref = CharmRef(added.space, added.charm_id)
        member = self._world.members.get(ref.charm_id)
        if member is None:
            member = Member(ref, kind, draw_temper(self._random, self._plan))
            self._world.members[ref.charm_id] = member
        return member

    async def _run_now(self, service: Service, member: Member) -> None:
        await service.commands.polling.run_now(member.ref)

    async def _send(self, service: Service, member: Member) -> None:
        self._number += 1
        n = f"op{self._number}"
        stream = POST if member.kind is Kind.MAILBOX else None
        try:
            service.commands.polling.send(member.ref, stream, json.dumps({"n": n}).encode())
        except (ChangeInDoubt, CommitInDoubt):
            self._world.report.faults["event in doubt"] += 1
            raise  # and says so
        except ServiceError:
            self._world.refused.add(n)
            raise
        self._world.check_written(self._world.disk.connection, "an event is accepted")
        self._world.accepted.add(n)

    async def _send_many(self, service: Service, member: Member) -> None:
        for _ in range(self._random.randint(2, 8)):
            await self._send(service, member)

    async def _disable(self, service: Service, member: Member) -> None:
        service.commands.polling.disable(member.ref)

    async def _enable(self, service: Service, member: Member) -> None:
        service.commands.polling.enable(member.ref)

    async def _register(self, service: Service, member: Member) -> None:
        await service.commands.polling.register(member.ref, self._random.choice(["manual", LISTER]))

    async def _unregister(self, service: Service, member: Member) -> None:
        service.commands.polling.unregister(member.ref)

    async def _remove(self, service: Service, member: Member) -> None:
        if member.kind in (Kind.MAILBOX, Kind.HUB, Kind.SIGNED, Kind.HOOKED):
            return  # whoever has a link to it would fail, and be right
        await service.commands.charms.remove(member.ref)

    async def _requeue(self, service: Service, member: Member) -> None:
        await service.commands.letters.requeue(self._letters(member))

    async def _drop_letters(self, service: Service, member: Member) -> None:
        await service.commands.letters.drop(self._letters(member))

    def _letters(self, member: Member) -> LetterChoice:
        """Those of one charm, or all there are."""
        return LetterChoice(ref=member.ref if self._random.random() < 0.5 else None)

    async def _send_later(self, service: Service, member: Member) -> None:
        self._number += 1
        n = f"later op{self._number}"
        stream = POST if member.kind is Kind.MAILBOX else None
        after = self._random.choice([0.0, 20.0, 300.0, self._plan.interval_seconds])
        event = json.dumps({"n": n}).encode()
        reminders = service.commands.reminders
        try:
            reminders.send_later(member.ref, stream, event, at=None, after=after)
        except (ChangeInDoubt, CommitInDoubt):
            raise
        except ServiceError:
            self._world.refused.add(n)
            raise
        self._world.check_written(self._world.disk.connection, "an event is promised")
        self._world.promised.add(n)

    async def _forget(self, service: Service, member: Member) -> None:
        charm = service.parts.store.charms.find(member.ref)
        kept = service.parts.store.reminders.of(charm.charm_key) if charm is not None else []
        if not kept:
            await self._send_later(service, member)
            return
        one = self._random.choice(kept)
        self._world.ledger.unasked.add(json.loads(one.event)["n"])
        service.commands.reminders.forget(member.ref, one.shown_name)

    async def _sign_in(self, service: Service, member: Member) -> None:
        """Sign in, for the first time or anew, with the client that the operator has given."""
        member = self._signed() or member
        if member.kind is not Kind.SIGNED:
            return
        sign_ins = service.commands.sign_ins
        if not sign_ins.clients():
            await sign_ins.set_client(PROVIDER, "client", "secret")
        link = await sign_ins.begin(PROVIDER, member.ref.space, member.ref.charm_id, AUTH)
        await sign_ins.finish(PROVIDER, link.url.partition("state=")[2], "code")

    async def _sign_out(self, service: Service, member: Member) -> None:
        """Forget the sign-in, whatever is under way with it: all who share it need another."""
        signed, sign_ins = self._signed(), service.commands.sign_ins
        before = self._stored_sign_in(service, signed)
        if signed is None or before is None:
            return
        if self._random.random() < 0.5:
            # While its token is renewed.
            renewing = asyncio.create_task(sign_ins.refresh(signed.ref, AUTH, PROVIDER))
            await asyncio.sleep(self._random.choice([0.0, 0.02, 0.5, 2.0]))
        else:
            renewing = None
        try:
            await sign_ins.log_out(signed.ref, AUTH, PROVIDER)
            self._world.provider.give_up(before.refresh_hash)
        finally:
            if renewing is not None:
                await asyncio.gather(renewing, return_exceptions=True)

    def _stored_sign_in(self, service: Service, member: Member | None) -> SignInRecord | None:
        store = service.parts.store
        charm = store.charms.find(member.ref) if member is not None else None
        return store.sign_ins.get(SignInKey(charm.charm_key, AUTH)) if charm is not None else None

    async def _renew(self, service: Service, member: Member) -> None:
        """Have the token renewed now, whatever it is good for."""
        signed = self._signed()
        if signed is None:
            return
        renewing = service.commands.sign_ins.refresh(signed.ref, AUTH, PROVIDER)
        if self._random.random() < 0.5:
            await renewing
        else:
            # While it runs.
            await asyncio.gather(renewing, self._run_now(service, signed))

    def _signed(self) -> Member | None:
        """The charm that signs in; None where there is none yet."""
        members = self._world.members.values()
        return next((one for one in members if one.kind is Kind.SIGNED), None)

    async def _deliver(self, service: Service, member: Member) -> None:
        """Deliver from outside: something new, to two addresses with one id, or the same again."""
        hooked = [one for one in self._world.members.values() if one.kind is Kind.HOOKED]
        now = service.parts.clock.steady()
        # Later than after a day it would count anew; the clocks of two lives may differ.
        recent = [one for one in self._delivered[-10:] if 0 <= now - one[0] < 6 * 3600.0]
        unanswered = [one for one in recent if one[3] not in self._world.accepted]
        if recent and self._random.random() < (0.8 if unanswered else 0.3):
            _, one, delivery_id, payload = self._random.choice(unanswered or recent)
            await self._deliver_one(service, one, delivery_id, payload)
            return
        self._number += 1
        for one in hooked:
            payload = f"hook{self._number} {one.ref.charm_id[-4:]}"
            delivery = (one, f"id {self._number}", payload)
            self._delivered.append((now, *delivery))
            await self._deliver_one(service, *delivery)

    async def _deliver_one(
        self, service: Service, member: Member, delivery_id: str, payload: str
    ) -> None:
        hook = self._hook_of(service, member, POST)
        if hook is None:
            return
        event = json.dumps({"n": payload}).encode()
        service.hooks.intake.check_open()
        service.hooks.intake.take(hook, delivery_id, event)
        self._world.check_written(self._world.disk.connection, "a delivery is answered")
        self._world.accepted.add(payload)

    async def _poke(self, service: Service, member: Member) -> None:
        hooked = [one for one in self._world.members.values() if one.kind is Kind.HOOKED]
        hook = self._hook_of(service, self._random.choice(hooked), "bgUpdater") if hooked else None
        if hook is not None:
            service.hooks.intake.check_open()
            service.hooks.intake.poke(hook)

    def _hook_of(self, service: Service, member: Member, stream: str) -> OpenHook | None:
        """Find a hook by its address, as a sender does; None for a charm that was removed."""
        store = service.parts.store
        charm = store.charms.find(member.ref)
        there = store.hooks.of(charm) if charm is not None else []
        address = next((one.address for one in there if one.stream == stream), "")
        return service.hooks.intake.at(address) if address else None

    async def _set_note(self, service: Service, member: Member) -> None:
        if member.kind in SIGN_IN:
            return  # of such a charm nothing moves but its token: then no run is stale
        self._number += 1
        await service.commands.updates.set_field(member.ref, "note", str(self._number).encode())

    async def _update(self, service: Service, member: Member) -> None:
        if member.kind in SIGN_IN:
            return
        source = source_of(member.kind, self._random.randint(0, 3))
        await service.commands.updates.update_source(
            member.ref, source, "new.py", None, dry_run=False
        )

    async def _set_interval(self, service: Service, member: Member) -> None:
        own = self._plan.interval_seconds * self._random.choice([0.1, 0.5, 2.0])
        service.commands.polling.set_interval(
            member.ref, self._random.choice([None, max(1.0, own)])
        )

    async def _set_schedule(self, service: Service, member: Member) -> None:
        polling, chance = service.commands.polling, self._random
        if chance.random() < 0.2:
            polling.reset_schedule(member.ref)
            return
        polling.set_schedule(
            member.ref,
            cron=chance.choice([None, *SCHEDULES]),
            time_zone=chance.choice([None, "Europe/Berlin", "Australia/Lord_Howe"]),
            quiet=chance.choice([None, "none", "22:00-07:00"]),
            missed=chance.choice(["once", "skip"]),
        )

    async def _add(self, service: Service, member: Member) -> None:
        boxes = [m for m in self._world.members.values() if m.kind is Kind.MAILBOX]
        kind = self._random.choice([Kind.COUNTER, Kind.MAILBOX, Kind.SENDER])
        number = self._random.randrange(self._plan.charms * 2)
        await self._add_one(service, kind, number, self._random.choice(boxes) if boxes else None)

    async def _flood(self, service: Service, member: Member) -> None:
        count = self._random.randint(5, 20)
        self._world.report.faults["flood of registrations"] += 1
        members = await asyncio.gather(
            *(self._add_one(service, Kind.COUNTER, 100 + number, None) for number in range(count))
        )
        await asyncio.sleep(self._random.uniform(0, self._plan.interval_seconds))
        await asyncio.gather(*(service.commands.charms.remove(one.ref) for one in members if one))

    async def _list(self, service: Service, member: Member) -> None:
        refs = [one.ref for one in self._world.members.values()]
        self._world.listed = self._random.sample(refs, self._random.randint(0, len(refs)))
        self._world.report.faults["list changed"] += 1

    async def _pause(self, service: Service, member: Member) -> None:
        pauses = service.commands.pauses
        wide = self._random.random()
        if wide < 0.15:
            await pauses.pause_all()
        elif wide < 0.4:
            await pauses.pause_space(member.ref.space)
        else:
            await pauses.pause_charm(member.ref)

    async def _resume(self, service: Service, member: Member) -> None:
        pauses = service.parts.store.pauses.all()
        if not pauses:
            return
        space_key, charm_key, *_ = self._random.choice(pauses)
        commands = service.commands.pauses
        if charm_key:
            charm = service.parts.store.charms.get(charm_key)
            assert charm is not None
            await commands.resume_charm(charm.ref)
        elif space_key:
            space = service.parts.store.spaces.get(space_key)
            assert space is not None
            await commands.resume_space(space.did)
        else:
            await commands.resume_all()

    async def _cancel(self, service: Service, member: Member) -> None:
        charm = service.parts.store.charms.find(member.ref)
        if charm is None:
            return
        if self._random.random() < 0.5:
            # Before the service takes its next step: it waits, and others behind it.
            await self._send(service, member)
            await self._send(service, member)
        jobs = service.parts.queue.page(0, 100, charm_key=charm.charm_key)
        live = [job for job in jobs if job.status in ("pending", "processing")]
        if not live:
            return
        job_id = self._random.choice([live[0], *live]).job_id
        self._world.ledger.withdrawn.add(job_id)
        await service.commands.jobs.cancel(job_id)
        if service.parts.queue.is_live(job_id):
            raise Violated(f"job {job_id} was cancelled, and is live")

    async def _purge(self, service: Service, member: Member) -> None:
        charm = service.parts.store.charms.find(member.ref)
        if charm is None or member.kind is not Kind.MAILBOX:
            return
        ledger, newest = self._world.ledger, service.parts.queue.newest()
        ledger.purged[(charm.charm_key, POST)] = newest
        ledger.may_forget.add(charm.charm_key)
        await service.commands.jobs.purge(member.ref, POST)
        left = service.parts.queue.page(0, 10_000, charm_key=charm.charm_key)
        for job in left:
            if job.job_id <= newest and job.status == "pending" and job.stream == POST:
                raise Violated(f"job {job.job_id} was purged, and waits")

    async def _look(self, service: Service, member: Member) -> None:
        status, workers = service.commands.queries.status(), self._plan.workers
        if status.jobs_processing > workers * MOST_RUNS:
            raise Violated(f"{status.jobs_processing} jobs are given out to {workers} workers")
        running = len(self._world.truth.running)
        if running > workers:
            raise Violated(f"{running} runs are under way in {workers} workers")
