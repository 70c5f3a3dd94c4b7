"""Shows what becomes of charms whose providers fail, with a real service and a provider that fails.

    make demo-outage
    python -m demos.outage [--patience SECONDS] [--away SECONDS] [--deadline SECONDS] [STEP …]

Runs the service and a provider on this machine, kills the provider and starts it again. Each step
says what it expects and waits until it is so; one that does not come within its deadline ends the
demonstration with exit code 1. The service runs with flags that everybody has, and knows nothing
of being shown.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from demos.provider import GOOD_TOKEN
from demos.receiver import BEAT_SECONDS, Receiver
from demos.service import ROOT, Program

CHARMS = ROOT / "demos" / "charms"

#: Charms are polled so often, and disabled after so many polls that failed: an outage that counted
#: would be over with them in seconds.
INTERVAL_SECONDS = 2.0
FAILURES = 3

#: A provider is down for so long before anybody is told; in earnest it is ten minutes.
DOWN_AFTER_SECONDS = 3

#: So many beats that do not come are an alarm.
_MISSED_BEATS = 5

#: What the mailbox is given at first: the provider does not know it any more.
OLD_TOKEN = "of last year"

PLACES = ("Oslo", "Bergen", "Tromsø")

_SPACE = "demo"

_Found = TypeVar("_Found")


class Missing(Exception):
    """What was expected did not happen."""


class Provider:
    """The provider's process, on the same port in each of its lives; and what it was asked."""

    def __init__(self, patience_seconds: float) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.patience_seconds = patience_seconds
        #: Every request that it has told of, the oldest first.
        self.asked: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "demos.provider", str(self.port)]
        process = subprocess.Popen(
            [*command, str(self.patience_seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self._process = process
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        wait_for("the provider to listen", self._listens, 30.0)

    def kill(self) -> None:
        """End it as `kill -9` does, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def of(self, path: str) -> list[dict[str, Any]]:
        """The requests for a path."""
        return [each for each in list(self.asked) if each["path"] == path]

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.asked.append(json.loads(line))

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def wait_for(what: str, find: Callable[[], _Found], deadline_seconds: float) -> _Found:
    """Ask again and again until there is an answer that is not nothing; raises Missing."""
    deadline = time.monotonic() + deadline_seconds
    while not (found := find()):
        if time.monotonic() > deadline:
            raise Missing(f"expected {what}, and waited {deadline_seconds:g} s for it")
        time.sleep(0.2)
    return found


class Demonstration:
    """The steps, on one service and one provider."""

    def __init__(
        self,
        program: Program,
        provider: Provider,
        receiver: Receiver,
        away_seconds: float,
        deadline_seconds: float,
    ) -> None:
        self._program = program
        self._provider = provider
        self._receiver = receiver
        self._away_seconds = away_seconds
        self._deadline_seconds = deadline_seconds
        self._url = f"http://localhost:{provider.port}"

    def waiting(self) -> None:
        """429 with Retry-After: the provider names a time, and is not asked before it."""
        self._is_patient("search")

    def maintenance(self) -> None:
        """503 with a date: the same, by a client that knows nothing of it."""
        self._is_patient("archive")

    def sign_in(self) -> None:
        """A token that was revoked: a person has to sign in again, and is told where."""
        mailbox = self._add("mailbox", token=OLD_TOKEN)
        self._until(
            mailbox, "it to ask for a sign-in", lambda view: view["disabled_by"] == "sign_in"
        )
        self._list()
        _say("It is red, and asks nobody until somebody has signed in. That person does:")
        _command(f"charm set demo/mailbox token '\"{GOOD_TOKEN}\"'")
        self._program.run("charm", "set", mailbox, "token", json.dumps(GOOD_TOKEN))
        self._until(mailbox, "a success", lambda view: view["successes"] and view["enabled"])
        _good(f"It runs again, at once; {self._figures(mailbox)}.")
        self._remove(mailbox)

    def stopped(self) -> None:
        """A charm that is done says so, and asks no more."""
        parcel = self._add("parcel")
        self._until(parcel, "it to stop", lambda view: view["disabled_by"] == "stopped")
        self._list()
        _good(f"The parcel was delivered: no poll any more; {self._figures(parcel)}.")
        self._remove(parcel)

    def stale(self) -> None:
        """A charm that succeeds for ever, and finds nothing new: green is not fresh."""
        news = self._add("news")
        view = self._until(news, "it to be stale", lambda view: view["stale_since"])
        _expect(not view["failures"], "that each of its runs succeeds")
        _command("charm list --stale")
        self._program.show("charm", "list", "--stale")
        _good(f"Every run succeeded, {view['successes']} of them, and nothing new was stored.")
        self._remove(news)

    def outage(self) -> None:
        """The provider dies: one line for all its charms, no failure, nobody disabled."""
        charms = self._forecasts()
        self._until_all(charms, "a forecast", lambda view: view["successes"])
        self._list()
        _say("All is well. Now the provider is killed.")
        self._provider.kill()
        killed_at = time.monotonic()
        self._until_all(charms, "its provider to be down", lambda view: self._waits(view, "down"))
        polls = int(self._away_seconds / INTERVAL_SECONDS)
        _say(f"For {self._away_seconds:g} s: time for {polls} polls. {FAILURES} that fail in a row")
        _say("would disable a charm; but an outage is not its fault.")
        time.sleep(max(0.0, killed_at + self._away_seconds - time.monotonic()))
        _command("status | head -7")
        click.echo("\n".join(self._program.run("status").splitlines()[:7]))
        status = self._program.get("/api/status")
        lines = [one for one in status["hosts_down"] if one["host"] == "localhost"]
        _expect([len(charms)] == [one["charms"] for one in lines], "one line for all of them")
        _expect(status["healthy"], "a healthy service: the fault is not its own")
        views = [self._view(charm) for charm in charms]
        _expect(all(view["enabled"] for view in views), "that none is disabled")
        _expect(not any(view["failures"] for view in views), "that none has failed")
        _good(f"{len(charms)} charms wait as one line; no failure is counted, none is disabled.")
        self._told("localhost is down since")
        _good("And somebody was told, once for all of them.")

    def recovery(self) -> None:
        """The provider comes back: all run again, by themselves."""
        charms = self._forecasts()
        self._provider.kill()
        self._until_all(charms, "its provider to be down", lambda view: self._waits(view, "down"))
        before = {charm: self._view(charm)["successes"] for charm in charms}
        self._provider.start()
        back_at = time.monotonic()
        _say("The provider is back. Nobody touches the charms; the first that is answered")
        _say("brings the others forward.")
        for charm in charms:
            self._until_over(charm, before[charm])
        self._list()
        took = time.monotonic() - back_at
        _good(f"All {len(charms)} run again, {took:.0f} s later; {self._figures(charms[0])}.")
        self._told("localhost is back")
        for charm in charms:
            self._remove(charm)

    def silence(self) -> None:
        """The service itself is killed: it can tell nobody, and its silence does."""
        beats = self._receiver.beats
        wait_for("the heartbeat", lambda: len(beats) > 1, self._deadline_seconds)
        _say(f"While the service is healthy it asks an address, here every {BEAT_SECONDS:g} s.")
        _say("Whoever listens there has counted on it. Now: kill -9.")
        self._program.kill()
        most = _MISSED_BEATS * BEAT_SECONDS
        wait_for(
            "silence", lambda: self._receiver.silent_seconds > most, self._deadline_seconds + most
        )
        _good(f"No heartbeat for {most:g} s: whoever listens sounds the alarm.")

    def _told(self, part: str) -> None:
        """Wait until somebody was told something, and show it."""
        found = wait_for(
            f"somebody to be told that {part}",
            lambda: self._receiver.find(part),
            self._deadline_seconds,
        )
        _say(f"Told by a notice: {found}")

    def _is_patient(self, name: str) -> None:
        """Add a charm whose provider asks for patience, and see that it has it."""
        charm = self._add(name)
        told = self._provider.of
        refusal = wait_for(
            "the provider to name a time",
            lambda: next((each for each in told(f"/{name}") if each["until"]), None),
            self._deadline_seconds,
        )
        assert refusal is not None
        until = refusal["until"]
        self._until(charm, "that its charm was asked to wait", lambda view: view["waits"])
        self._list()
        _say(f"The provider said {_clock(until)}. Until then nobody asks it; then, by itself:")
        again = wait_for(
            "another try",
            lambda: next((each for each in told(f"/{name}") if each["at"] > refusal["at"]), None),
            self._deadline_seconds,
        )
        assert again is not None
        # A date has whole seconds.
        _expect(again["at"] > until - 1, f"none before {_clock(until)}")
        self._until(charm, "a success", lambda view: view["successes"])
        _good(f"Asked again at {_clock(again['at'])}, not once before; {self._figures(charm)}.")
        self._remove(charm)

    def _forecasts(self) -> list[str]:
        return [self._add("forecast", cause=place.lower(), place=place) for place in PLACES]

    def _add(self, name: str, cause: str = "", **values: object) -> str:
        """Add a charm of the demonstration; the same one again is the one that is there."""
        source = CHARMS / f"{name}.py"
        given = {"url": self._url, **values}
        return self._program.add(source, space=_SPACE, cause=cause or name, values=given)

    def _remove(self, charm: str) -> None:
        self._program.run("charm", "remove", charm, "--yes")

    def _list(self) -> None:
        _command("charm list")
        self._program.show("charm", "list")

    def _view(self, charm: str) -> dict[str, Any]:
        space, charm_id = charm.split("/")
        listed: list[dict[str, Any]] = self._program.get(f"/api/charms?space={space}")["charms"]
        return next(view for view in listed if view["charm_id"] == charm_id)

    def _until(
        self, charm: str, what: str, holds: Callable[[dict[str, Any]], object]
    ) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            view = self._view(charm)
            return view if holds(view) else None

        found = wait_for(what, find, self._deadline_seconds)
        assert found is not None
        return found

    def _until_all(
        self, charms: Sequence[str], what: str, holds: Callable[[dict[str, Any]], object]
    ) -> None:
        for charm in charms:
            self._until(charm, what, holds)

    def _until_over(self, charm: str, successes: int) -> None:
        self._until(charm, "a success", lambda view: view["successes"] > successes)

    def _waits(self, view: dict[str, Any], kind: str) -> bool:
        return bool(view["waiting"] and view["waiting"]["kind"] == kind)

    def _figures(self, charm: str) -> str:
        """Say what a charm's runs have counted as."""
        view = self._view(charm)
        return f"{view['successes']} succeeded, {view['failures']} failed"


#: Each step, in order: its name, and what does it. What it shows stands in its docstring.
STEPS: dict[str, Callable[[Demonstration], None]] = {
    "waiting": Demonstration.waiting,
    "maintenance": Demonstration.maintenance,
    "sign-in": Demonstration.sign_in,
    "stopped": Demonstration.stopped,
    "stale": Demonstration.stale,
    "outage": Demonstration.outage,
    "recovery": Demonstration.recovery,
    "silence": Demonstration.silence,
}


@click.command(context_settings={"max_content_width": 100})
@click.argument("steps", metavar="[STEP]…", nargs=-1, type=click.Choice(list(STEPS)))
@click.option(
    "--patience",
    metavar="SECONDS",
    type=click.FloatRange(min=2),
    default=10.0,
    show_default=True,
    help="What the provider asks for with Retry-After.",
)
@click.option(
    "--away",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    help="How long the provider is dead before it is looked at what became of its charms.",
)
@click.option(
    "--deadline",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=90.0,
    show_default=True,
    help="How long each step may take.",
)
def main(steps: Sequence[str], patience: float, away: float, deadline: float) -> None:
    """Show what becomes of charms whose providers fail; exit with 1 where a step did not happen.

    STEPs are shown in order, by default all of them.
    """
    began_at = time.monotonic()
    chosen = [name for name in STEPS if name in steps or not steps]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="charm-outage-")))
        provider, program = Provider(patience), Program(folder)
        stack.callback(provider.kill)
        provider.start()
        receiver = stack.enter_context(Receiver())
        receiver.start()
        stack.callback(receiver.shutdown)
        targets = folder / "targets"
        receiver.write_target(targets, f"kinds=down,up down-after={DOWN_AFTER_SECONDS}s")
        flags = [
            f"--interval={INTERVAL_SECONDS:g}",
            f"--failures={FAILURES}",
            "--max-retries=0",
            f"--charm-network=53,{provider.port}",
            f"--notify=@{targets}",
            f"--heartbeat={receiver.heartbeat}",
            "--notify-local",
        ]
        click.echo(f"A provider on port {provider.port}; the service with {' '.join(flags)}")
        beats = f"{BEAT_SECONDS * 1000:.0f}"
        stack.enter_context(
            program.service(*flags, NOTIFY_GATHER_MS="1000", HEARTBEAT_INTERVAL_MS=beats)
        )
        click.echo(f"Its page: {program.url}")
        demonstration = Demonstration(program, provider, receiver, away, deadline)
        for number, name in enumerate(chosen, start=1):
            step = STEPS[name]
            _title(f"{number} of {len(chosen)}. {name.capitalize()}: {step.__doc__}")
            try:
                step(demonstration)
            except Missing as missing:
                click.secho(f"✗ {name}: {missing}", fg="red", bold=True)
                sys.exit(1)
    click.secho(
        f"\nEvery step happened, in {time.monotonic() - began_at:.0f} s.", fg="green", bold=True
    )


def _expect(is_so: bool, what: str) -> None:  # noqa: FBT001 - it is the sentence
    if not is_so:
        raise Missing(f"expected {what}")


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _say(text: str) -> None:
    click.echo(f"  {text}")


def _good(text: str) -> None:
    click.secho(f"✓ {text}", fg="green")


def _command(text: str) -> None:
    click.secho(f"$ bg-charm-service {text}", fg="cyan")


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%H:%M:%S")


if __name__ == "__main__":
    main()
