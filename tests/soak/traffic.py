"""What people do meanwhile: send events, run charms now, disable, enable, change fields.

Each kind in a thread of its own, drawn from a seed, through the API; what the service answered
goes into the ledger. A request that breaks off while the service dies has an unknown fate.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import httpx2

from tests.fakes.senders import Request, github, hub, slack_event
from tests.process.running import Refused, RunningCharm
from tests.soak.cast import HOOKS_URL, Cast
from tests.soak.ledger import Ledger, ToldRun
from tests.soak.provider import NAME

#: Between two requests of a thread, at most, in seconds.
PAUSE_SECONDS = 0.2

#: Of the renewals that people ask for, so many get no answer: it is lost on its way.
LOST_ODDS = 0.03

#: Of deliveries so many are forged, and so many of the others come twice.
FORGED_ODDS = 0.1
REPEATED_ODDS = 0.2

#: With these a sender is asked to try again.
WAITING = frozenset({httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE})

#: Nobody took the request; any other error may have come after the service took it.
NOT_TAKEN = (Refused, httpx2.ConnectError)


def is_in_doubt(error: Exception) -> bool:
    """Whether the service said that it does not know what becomes of a request."""
    return isinstance(error, Refused) and "in doubt" in str(error)


def sign_in_again(cast: Cast) -> None:
    """Do what a person does who is told that a sign-in is over."""
    service = next(iter(cast.signed_in)).service
    for shown in service.request("GET", "/api/sign-ins"):
        if not shown["is_signed_in"]:
            cast.provider.sign_in(service, f"{shown['space']}/{shown['charm_id']}")


def renew(charm: RunningCharm) -> None:
    """Have the token of a charm renewed, if its provider gives one now."""
    space, _, charm_id = charm.ref.partition("/")
    body = {"space": space, "charm": charm_id}
    try:
        charm.service.request("POST", f"/api/integrations/{NAME}-oauth/refresh", body)
    except Refused as refused:
        if not str(refused).startswith("The token was not renewed"):
            raise


def _signed(stream: str, number: int, other: str) -> Request:
    """What GitHub or Slack sends, signed with its secret or another one."""
    if stream == "pushed":
        secret = f"the secret of github{other}"
        return github(secret, {"number": number}, delivery=f"delivery {number}")
    event = {"type": "event_callback", "event_id": f"Ev{number}", "event": {"number": number}}
    return slack_event(f"the secret of slack{other}", event, at=time.time())


class Traffic:
    """The threads; they run inside the `with` block, and wait while the service is down."""

    def __init__(self, cast: Cast, ledger: Ledger, seed: int) -> None:
        self.is_up = threading.Event()
        #: What a thread died of; a bug of these tests, or an answer that is none.
        self.faults: list[str] = []
        self.refusals = 0
        self._cast = cast
        self._ledger = ledger
        self._over = threading.Event()
        #: The number that each hooked charm was sent, and that was not answered yet.
        self._undelivered: dict[str, int] = {}
        half = len(cast.counters) // 2
        kinds: list[Callable[[random.Random], None]] = [
            # A charm belongs to one sender, so that its numbers are sent in order.
            partial(self._send, cast.counters[:half]),
            partial(self._send, cast.counters[half:]),
            self._run_now,
            self._meddle,
            self._mind_sign_ins,
            # Each is reached by one sender, so that its numbers come in order.
            *(partial(self._deliver, charm, kind) for charm, kind in self._senders()),
            self._poke,
        ]
        self._threads = [
            threading.Thread(
                target=self._repeat, args=(kind, random.Random(f"{seed}/{place}")), daemon=True
            )
            for place, kind in enumerate(kinds)
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.is_up.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, act: Callable[[random.Random], None], chance: random.Random) -> None:
        try:
            while not self._over.is_set():
                self.is_up.wait()
                try:
                    act(chance)
                except Refused as refused:
                    self._note_refusal(refused)
                except httpx2.TransportError:
                    # It is being killed; whoever kills it says when it is up again.
                    self._over.wait(PAUSE_SECONDS)
                self._over.wait(chance.uniform(0, PAUSE_SECONDS))
        except Exception as error:
            self.faults.append(f"traffic ended by {type(error).__name__}: {error}")

    def _note_refusal(self, refused: Refused) -> None:
        self.refusals += 1
        if refused.status == 500 and not is_in_doubt(refused):
            self.faults.append(f"the service answered 500: {refused}")

    def _send(self, charms: Sequence[RunningCharm], chance: random.Random) -> None:
        """Send one charm a few events; their order is the order of their numbers."""
        charm = chance.choice(charms)
        for _ in range(chance.randint(1, 10)):
            number = self._ledger.next_number(charm.charm_id)
            try:
                charm.send(number=number)
            except NOT_TAKEN as error:
                # One in doubt may have come or not; one that was refused has not.
                if not is_in_doubt(error):
                    self._ledger.refuse(charm.charm_id, number)
                raise
            self._ledger.accept(charm.charm_id, number)

    def _mind_sign_ins(self, chance: random.Random) -> None:
        """Sign in again where somebody has to, and have a token renewed that is good."""
        sign_in_again(self._cast)
        if chance.random() < LOST_ODDS:
            self._cast.provider.lose_answer()
        # The tokens of the other one are renewed for its runs alone.
        renew(next(iter(self._cast.signed_in)))

    def _senders(self) -> Iterator[tuple[RunningCharm, str]]:
        yield from zip(self._cast.hooked, ("pushed", "told"), strict=True)

    def _deliver(self, charm: RunningCharm, stream: str, chance: random.Random) -> None:
        """Deliver as GitHub or Slack does; what got no answer is delivered again, with its id."""
        url = HOOKS_URL + self._cast.hooked[charm][stream]
        number = self._undelivered.get(charm.charm_id)
        if number is None:
            number = self._ledger.next_number(charm.charm_id)
            if chance.random() < FORGED_ODDS:
                self._forge(charm, stream, number)
                return
            self._undelivered[charm.charm_id] = number
        answer = _signed(stream, number, "").post(url)
        if answer.status_code == httpx2.codes.ACCEPTED:
            del self._undelivered[charm.charm_id]
            self._ledger.accept(charm.charm_id, number)
            if chance.random() < REPEATED_ODDS:
                # As where its answer is lost on the way.
                _signed(stream, number, "").post(url)
        elif answer.status_code not in WAITING:
            self.faults.append(f"a delivery was answered {answer.status_code}: {answer.text}")

    def _forge(self, charm: RunningCharm, stream: str, number: int) -> None:
        """Deliver what nobody has signed who may: it leads nowhere."""
        self._ledger.refuse(charm.charm_id, number)
        url = HOOKS_URL + self._cast.hooked[charm][stream]
        answer = _signed(stream, number, " of somebody else").post(url)
        if answer.status_code not in {httpx2.codes.NOT_FOUND, *WAITING}:
            self.faults.append(f"a forged delivery was answered {answer.status_code}")

    def _poke(self, chance: random.Random) -> None:
        charm = chance.choice(list(self._cast.hooked))
        url = HOOKS_URL + self._cast.hooked[charm]["bgUpdater"]
        answer = hub("the secret of the hub", b"<feed/>").post(url)
        if answer.status_code not in {httpx2.codes.ACCEPTED, *WAITING}:
            self.faults.append(f"a poke was answered {answer.status_code}: {answer.text}")

    def _run_now(self, chance: random.Random) -> None:
        charm = chance.choice(self._cast.everybody)
        run = charm.run()
        self._ledger.tell(charm.charm_id, ToldRun(run["number"], run["run_id"], run["status"]))

    def _meddle(self, chance: random.Random) -> None:
        """Change something that a run may need at this moment, and put it right again."""
        charm = chance.choice(self._cast.everybody)
        act = chance.choice([self._switch, self._register_anew, self._salt, self._overload])
        act(charm, chance)

    def _switch(self, charm: RunningCharm, chance: random.Random) -> None:
        charm.post("disable")
        self._over.wait(chance.uniform(0, PAUSE_SECONDS))
        charm.post("enable")

    def _register_anew(self, charm: RunningCharm, chance: random.Random) -> None:
        charm.unregister()
        self._over.wait(chance.uniform(0, PAUSE_SECONDS))
        charm.register()

    def _salt(self, charm: RunningCharm, chance: random.Random) -> None:
        with suppress(Refused):
            charm.set("salt", "s" * chance.randint(0, 100_000))

    def _overload(self, charm: RunningCharm, chance: random.Random) -> None:
        """Send what is large and wrong: it is refused, and keeps nobody from being served."""
        count = chance.randint(10_000, 500_000)
        with suppress(Refused):
            charm.set("salt", [[]] * count)
        many = {f"k{number}": 0 for number in range(count // 5)}
        with suppress(Refused):
            charm.service.request("POST", "/api/charms/import", [{"set": many}, many])
