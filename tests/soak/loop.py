"""The kill loop: runs the service, beats it at random moments, and audits what each life leaves.

What is drawn comes from the seed; what the machine makes of it does not, so a seed repeats the
blows, not the outcome. The loop ends with the first violation, so that the data directory still
shows it.
"""

from __future__ import annotations

import random
import select
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import tenacity

from tests.process.running import (
    PATIENCE_SECONDS,
    Runner,
    Service,
    wait_until_ended,
    watched,
    watched_descendants,
)
from tests.soak.audit import Expected, audit
from tests.soak.cast import FLAGS, Cast, add_cast
from tests.soak.faults import SURVIVED, Fault, failing_program, syncs_fail, zygotes
from tests.soak.gauges import Reading, limits, longest_step_cpu_ms, read
from tests.soak.ledger import Ledger
from tests.soak.provider import SoakProvider
from tests.soak.receiver import SoakReceiver
from tests.soak.report import SoakReport
from tests.soak.traffic import Traffic, sign_in_again

#: Between two blows, at most, in seconds.
PAUSE_SECONDS = 1.0

#: Of so many blows one ends the service.
LIVES_ODDS = 0.2

#: Lines of the log that say that the service did something wrong itself.
FAULTY_EVENTS = {"crashed", "api.error", "upkeep_failed", "upkeep_late", "notice_fault"}

#: Tells from the number of blows and the seconds so far whether it is enough.
IsEnough = Callable[[int, float], bool]


class KillLoop:
    """One service on one data directory, from an empty one to rest."""

    def __init__(self, data_dir: Path, seed: int) -> None:
        self._data_dir = data_dir
        self._receiver = SoakReceiver(seed)
        self._targets = data_dir.parent / f"{data_dir.name}-targets"
        self._service = self._new_service()
        self._seed = seed
        self._chance = random.Random(seed)
        self._ledger = Ledger()
        self._provider = SoakProvider(seed)
        self._faults: Counter[str] = Counter()
        self._restarts = 0
        self._runs = 0
        self._charms = 0
        self._highest = Reading()
        self._violations: list[str] = []

    def run(self, is_enough: IsEnough) -> SoakReport:
        """Beat the service until it is enough or something is wrong; gives what was found."""
        began = time.monotonic()
        with self._provider, self._receiver:
            self._receiver.write_target(self._targets)
            try:
                self._beat_until(is_enough, began)
            finally:
                self._service.close()
        allowed = limits(self._charms)
        self._violations += self._highest.excesses(allowed)
        return SoakReport(
            seed=self._seed,
            seconds=time.monotonic() - began,
            faults=dict(self._faults),
            kills=sum(count for name, count in self._faults.items() if "kill" in name),
            restarts=self._restarts,
            runs_checked=self._runs,
            events_checked=self._ledger.accepted,
            refusals_checked=self._ledger.refused,
            answers_checked=self._ledger.runs_told,
            refreshes_checked=self._provider.refreshes,
            sign_ins=self._provider.sign_ins,
            notices_taken=self._receiver.taken.total(),
            highest=self._highest,
            limits=allowed,
            violations=tuple(self._violations),
        )

    def _beat_until(self, is_enough: IsEnough, began: float) -> None:
        """Deal the blows, and compare what is left at rest."""
        self._provider.begin_life()
        self._service.start()
        self._provider.register_client(self._service)
        cast = add_cast(self._service, self._provider)
        self._charms = len(cast.everybody)
        with Traffic(cast, self._ledger, self._seed) as traffic:
            traffic.is_up.set()
            while not self._violations and not is_enough(
                self._faults.total(), time.monotonic() - began
            ):
                time.sleep(self._chance.uniform(0.05, PAUSE_SECONDS))
                self._highest = self._highest.or_more(read(self._service))
                self._beat(cast, traffic)
                self._violations += traffic.faults
        self._violations += traffic.faults
        if not self._violations:
            self._come_to_rest(cast)
        if self._provider.late_tokens:
            self._note(f"{self._provider.late_tokens} requests came with a token that had ended")

    def _beat(self, cast: Cast, traffic: Traffic) -> None:
        """Give one blow, and restart the service where it ended."""
        if self._chance.random() < LIVES_ODDS:
            end = self._chance.choice(
                [self._kill, self._kill, self._kill_in_doubt, self._stop, self._stop_twice]
            )
            if end == self._kill and self._chance.random() < LIVES_ODDS:
                end = self._kill_with_frozen_zygote
            end(cast, traffic)
            self._faults[end.__name__.strip("_")] += 1
            return
        kinds: list[Fault] = list(SURVIVED)
        (fault,) = self._chance.choices(kinds, list(SURVIVED.values()))
        if fault(self._service, self._chance):
            self._faults[fault.__name__] += 1
        if self._service.has_ended:
            code = self._service.wait()
            self._note(f"the service ended by itself with {code}: {self._service.errors[-2000:]}")

    def _kill(self, cast: Cast, traffic: Traffic) -> None:
        """KILL the service; every process that it started has to end."""
        with watched_descendants(self._service) as handles:
            self._service.signal(signal.SIGKILL)
            self._provider.excuse_life()
            traffic.is_up.clear()
            self._service.wait()
            self._check_ended(handles)
        self._check_and_restart(cast, traffic, is_stopped=False)

    def _kill_in_doubt(self, cast: Cast, traffic: Traffic) -> None:
        """KILL the service while no sync works: what it refused is not there, whatever is."""
        with syncs_fail(self._service):
            time.sleep(self._chance.uniform(0, PAUSE_SECONDS))
            with watched_descendants(self._service) as handles:
                self._service.signal(signal.SIGKILL)
                self._provider.excuse_life()
                traffic.is_up.clear()
                self._service.wait()
                self._check_ended(handles)
        self._check_and_restart(cast, traffic, is_stopped=False)

    def _kill_with_frozen_zygote(self, cast: Cast, traffic: Traffic) -> None:
        """KILL the service while its zygote is stopped, and let that go on after the restart."""
        killed, frozen = self._service, zygotes(self._service)
        with watched_descendants(killed) as handles:
            try:
                for zygote in frozen:
                    zygote.suspend()
                with watched(killed.pid) as itself:
                    killed.signal(signal.SIGKILL)
                    self._provider.excuse_life()
                    traffic.is_up.clear()
                    wait_until_ended(itself)
                # What the killed one wrote is read later: its zygote holds the other end.
                self._service = self._new_service()
                self._check_and_restart(cast, traffic, is_stopped=False)
            finally:
                for zygote in frozen:
                    with suppress(psutil.NoSuchProcess):
                        zygote.resume()
            self._check_ended(handles)
            killed.close()
            self._check_log(killed)

    def _stop(self, cast: Cast, traffic: Traffic) -> None:
        """TERM the service."""
        self._end_politely(cast, traffic, signals=1)

    def _stop_twice(self, cast: Cast, traffic: Traffic) -> None:
        """TERM the service, and again before it is done."""
        self._end_politely(cast, traffic, signals=2)

    def _end_politely(self, cast: Cast, traffic: Traffic, *, signals: int) -> None:
        with watched_descendants(self._service) as handles:
            self._service.signal(signal.SIGTERM)
            if signals > 1:
                time.sleep(self._chance.uniform(0, 0.5))
                self._service.signal(signal.SIGTERM)
            code = self._service.wait()
            traffic.is_up.clear()
            if code != 0:
                self._note(f"a stopped service ended with {code}: {self._service.errors[-2000:]}")
            self._check_ended(handles)
        self._check_and_restart(cast, traffic, is_stopped=True)

    def _check_and_restart(self, cast: Cast, traffic: Traffic, *, is_stopped: bool) -> None:
        self._check_log(self._service)
        self._audit(cast.expected(is_stopped=is_stopped))
        if not self._violations:
            self._provider.begin_life()
            self._service.start()
            self._restarts += 1
            traffic.is_up.set()

    def _come_to_rest(self, cast: Cast) -> None:
        """Let everything that was accepted end, then compare once more, through the API too."""
        service = self._service
        sign_in_again(cast)
        for charm in cast.villains:
            charm.set("mode", "ok")
        for charm in cast.everybody:
            charm.register()
        for charm in cast.everybody:
            charm.unregister()
        self._receiver.is_calm = True
        _wait_for_rest(service)
        _wait_for_notices(service)
        self._highest = self._highest.or_more(read(service))
        if code := service.stop():
            self._note(f"the service at rest ended with {code}: {service.errors[-2000:]}")
        self._check_log(service)
        self._audit(cast.expected(is_stopped=True, is_at_rest=True))
        self._provider.begin_life()
        service.start()
        for charm in cast.everybody:
            counter, view = charm.get("counter"), charm.view()
            if counter != view["successes"]:
                self._note(f"{charm.ref}: counted {counter}, {view['successes']} are shown")
        self._runs = service.status()["executions"]
        service.stop()

    def _audit(self, expected: Expected) -> None:
        """Compare the data directory of the service that has ended with what was promised."""
        told, deaths = self._receiver.taken, self._restarts + 1
        expected = replace(expected, told=told, deaths=deaths)
        self._violations += audit(self._data_dir, self._ledger, expected)

    def _check_log(self, service: Service) -> None:
        steps = Reading(step_cpu_ms=longest_step_cpu_ms(service))
        self._highest = self._highest.or_more(steps)
        for line in service.lines:
            if line.get("event") in FAULTY_EVENTS:
                self._note(f"the log has {line['event']}: {line['message']}")
        if "Traceback" in service.errors:
            self._note(f"the service printed a traceback: {service.errors[-2000:]}")

    def _check_ended(self, handles: list[int]) -> None:
        for handle in handles:
            if not select.select([handle], [], [], PATIENCE_SECONDS)[0]:
                self._note("a process outlived the service that started it")

    def _new_service(self) -> Service:
        runner = Runner(program=failing_program(self._data_dir))
        return Service(
            self._data_dir,
            *FLAGS,
            f"--notify=@{self._targets}",
            runner=runner,
            OPERATOR_PASS="not the default",
            NOTIFY_GATHER_MS="500",
            NOTIFY_AGAIN_MS="3000",
            NOTIFY_TIMEOUT_MS="2000",
        )

    def _note(self, violation: str) -> None:
        self._violations.append(violation)


@tenacity.retry(
    retry=tenacity.retry_if_result(lambda waiting: waiting > 0),
    wait=tenacity.wait_fixed(0.1),
    stop=tenacity.stop_after_delay(3 * PATIENCE_SECONDS),
)
def _wait_for_rest(service: Service) -> int:
    """Wait until no job waits or runs."""
    status = service.status()
    return int(status["jobs_pending"] + status["jobs_processing"])


@tenacity.retry(
    retry=tenacity.retry_if_result(lambda is_open: is_open),
    wait=tenacity.wait_fixed(0.2),
    stop=tenacity.stop_after_delay(3 * PATIENCE_SECONDS),
)
def _wait_for_notices(service: Service) -> bool:
    """Wait until no message waits or is being sent."""
    found = service.request("GET", "/api/notices?limit=1000")
    return any(one["status"] in ("waiting", "sending") for one in found)
