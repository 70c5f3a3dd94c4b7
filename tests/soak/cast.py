"""The charms of a kill loop, and the flags of the service that runs them.

Some count and are sent events, some send through a link, the others misbehave in one way each.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.process.running import CHARMS, RunningCharm, Service
from tests.real_servers import free_port
from tests.soak.audit import Expected
from tests.soak.provider import SoakProvider

SOAKED = (CHARMS / "soaked.py").read_text()
SIGNED_IN = (CHARMS / "signed_in.py").read_text()
#: Behind the charm that it is made from: a source is one file.
HOOKED = SOAKED + (CHARMS / "hooked.py").read_text().replace(
    "from tests.fixtures.charms.soaked import Soaked\n", ""
)

HISTORY_RUNS = 40
HISTORY_JOBS = 200
RUN_LOG_BYTES = 4096

#: Workers that the service may have at a time.
WORKERS = 4

#: Connections to the port that one user may have at a time.
CONNECTIONS_OF_A_PEER = 50

#: The longest a run may take, in seconds.
TIMEOUT_SECONDS = 2

#: Where senders outside reach the service, in each of its lives.
HOOKS_URL = f"http://127.0.0.1:{free_port()}"

FLAGS = (
    "--interval=1",
    "--listen=127.0.0.1:0",
    f"--hook-listen={HOOKS_URL.removeprefix('http://')}",
    f"--max-per-peer={CONNECTIONS_OF_A_PEER}",
    f"--timeout={TIMEOUT_SECONDS}",
    "--kill-grace=0.3",
    f"--max-concurrent={WORKERS}",
    # A death by our own hand must not use up the attempts of an event.
    "--max-retries=8",
    "--failures=1",
    "--disabled-retry=5",
    "--drain-timeout=3",
    "--worker-memory=128M",
    "--worker-max-runs=300",
    "--worker-max-age=60",
    f"--history-runs={HISTORY_RUNS}",
    f"--history-jobs={HISTORY_JOBS}",
    f"--run-log={RUN_LOG_BYTES}",
    "--log-interval=20",
    "--notify-local",
    # What this machine has: charms that misbehave do so behind walls, as they would elsewhere.
    "--sandbox=auto",
)

SPACES = ("red", "green", "blue")

#: How each misbehaving charm does, and in how many of a hundred runs.
MISDEEDS = {
    "tell": 100,
    "fail": 60,
    "slow": 100,
    "late": 30,
    "crash": 40,
    "flood": 100,
    "leave": 50,
}
HOSTILE_ODDS = 70


#: In how many of a hundred runs signed-in charms have their token renewed. Those that never do have
#: it renewed before a run, once it was obtained half a minute ago.
RENEWAL_ODDS = (60, 0)


@dataclass(frozen=True)
class Cast:
    """Who plays: charms that are sent events, senders with their receivers, the misbehaving.

    And the signed-in, each with one that links to its sign-in.
    """

    counters: tuple[RunningCharm, ...]
    senders: dict[RunningCharm, RunningCharm]
    villains: tuple[RunningCharm, ...]
    signed_in: dict[RunningCharm, RunningCharm]
    provider: SoakProvider
    #: Charms that senders outside reach, with their paths by stream.
    hooked: dict[RunningCharm, dict[str, str]]

    @property
    def everybody(self) -> list[RunningCharm]:
        """All charms."""
        pairs = [*self.senders.items(), *self.signed_in.items()]
        paired = (one for pair in pairs for one in pair)
        return [*self.counters, *paired, *self.villains, *self.hooked]

    def expected(self, *, is_stopped: bool = False, is_at_rest: bool = False) -> Expected:
        """What has to hold for the data directory of these charms."""
        links = {one.charm_id: other.charm_id for one, other in self.senders.items()}
        tokens = self.provider.refresh_tokens()
        hidden = [path.encode() for paths in self.hooked.values() for path in paths.values()]
        addresses = tuple(path.rpartition(b"/")[2] for path in hidden)
        return Expected(
            HISTORY_RUNS, HISTORY_JOBS, links, is_stopped, is_at_rest, tokens, addresses=addresses
        )


def add_cast(service: Service, provider: SoakProvider) -> Cast:
    """Add the charms, and have them polled."""
    counters = [_add(service, space) for space in SPACES for _ in range(3)]
    counters += [_add(service, space, mode="slow", odds=30) for space in SPACES]
    senders = {}
    for space in SPACES:
        receiver = _add(service, space)
        senders[_add(service, space, to=receiver)] = receiver
    villains = [
        _add(service, SPACES[place % len(SPACES)], mode=mode, odds=odds)
        for place, (mode, odds) in enumerate(MISDEEDS.items())
    ]
    villains += [_add(service, space, mode="hostile", odds=HOSTILE_ODDS) for space in SPACES]
    signed_in = dict(_add_signed_in(service, provider, odds) for odds in RENEWAL_ODDS)
    hooked = {charm: _paths_of(charm) for charm in (_add_hooked(service) for _ in range(2))}
    return Cast(tuple(counters), senders, tuple(villains), signed_in, provider, hooked)


def _add_hooked(service: Service) -> RunningCharm:
    request = {"space": SPACES[1], "class": "Hooked", "values": {"odds": 30, "mode": "slow"}}
    return service.add(HOOKED, register=True, **request)


def _paths_of(charm: RunningCharm) -> dict[str, str]:
    hooks = charm.service.request("GET", f"{charm.path}/hooks")
    return {one["stream"]: urlsplit(one["url"]).path for one in hooks}


def _add_signed_in(
    service: Service, provider: SoakProvider, odds: int
) -> tuple[RunningCharm, RunningCharm]:
    """Add a charm, sign in for it, and add one that links to that."""
    values = {"odds": odds, "resource": provider.resource}
    owner = service.add(SIGNED_IN, space=SPACES[0], values=values)
    provider.sign_in(service, owner.ref)
    links = {"auth": f"{owner.ref}/auth"}
    linked = service.add(SIGNED_IN, space=SPACES[0], values=values, links=links, register=True)
    return owner, linked


def _add(
    service: Service,
    space: str,
    *,
    mode: str = "ok",
    odds: int = 100,
    to: RunningCharm | None = None,
) -> RunningCharm:
    links = {}
    if to is not None:
        links = {"out": f"{to.ref}/bgUpdater", "gifts": f"{to.ref}/given"}
    values = {"mode": mode, "odds": odds}
    return service.add(SOAKED, space=space, values=values, links=links, register=True)
