"""The blows: KILL, TERM, STOP and CONT to the service, its zygote, its workers; floods, full disks.

Each is one function over the processes that there are at that moment; which and when is drawn by
the loop. One that finds nobody to hit does nothing, and says so.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.process.running import Service
from tests.soak.cast import CONNECTIONS_OF_A_PEER

#: A frozen process is let go on after so many seconds: below a run's limit, and above it.
FREEZE_SECONDS = (0.1, 2.7)

#: A disk is filled by so much at a time.
_BALLAST_BYTES = 64 * 1024

Fault = Callable[[Service, random.Random], bool]


def zygotes(service: Service) -> list[psutil.Process]:
    """The process that forks workers; none while it is started anew."""
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(service.pid).children():
            with suppress(psutil.Error):
                if any(
                    "bg_charm_service.workers.runtime.zygote" in word for word in process.cmdline()
                ):
                    found.append(process)
    return found


def workers(service: Service) -> list[psutil.Process]:
    """The processes that run charms."""
    found: list[psutil.Process] = []
    for zygote in zygotes(service):
        with suppress(psutil.Error):
            found += zygote.children()
    return found


def kill_worker(service: Service, chance: random.Random) -> bool:
    """KILL a worker."""
    return _hit(workers(service), signal.SIGKILL, chance)


def terminate_worker(service: Service, chance: random.Random) -> bool:
    """TERM a worker, which leaves that to the main process."""
    return _hit(workers(service), signal.SIGTERM, chance)


def freeze_worker(service: Service, chance: random.Random) -> bool:
    """STOP a worker for a while."""
    return _freeze(workers(service), chance)


def kill_zygote(service: Service, chance: random.Random) -> bool:
    """KILL the zygote."""
    return _hit(zygotes(service), signal.SIGKILL, chance)


def terminate_zygote(service: Service, chance: random.Random) -> bool:
    """TERM the zygote, which ignores that."""
    return _hit(zygotes(service), signal.SIGTERM, chance)


def freeze_zygote(service: Service, chance: random.Random) -> bool:
    """STOP the zygote for a while."""
    return _freeze(zygotes(service), chance)


def freeze_service(service: Service, chance: random.Random) -> bool:
    """STOP the service itself for a while."""
    return _freeze([psutil.Process(service.pid)], chance)


def flood_connections(service: Service, chance: random.Random) -> bool:
    """Open more connections than anybody may have, with half a request on each, and hold them."""
    lines = [line for line in list(service.lines) if line.get("event") == "listening"]
    if not lines:
        return False
    port = int(str(lines[-1]["url"]).rpartition(":")[2])
    with ExitStack() as stack:
        for _ in range(4 * CONNECTIONS_OF_A_PEER):
            # It may be full, or have been ended by what a charm did.
            with suppress(OSError):
                one = stack.enter_context(socket.socket())
                one.settimeout(FREEZE_SECONDS[0])
                one.connect(("127.0.0.1", port))
                one.send(b"GET /api/status HTTP/1.1\r\nhost: localhost\r\n")
        time.sleep(chance.uniform(*FREEZE_SECONDS))
    return True


def fill_disk(service: Service, chance: random.Random) -> bool:
    """Take all the room of the small disk that the data directory lies on, for a while."""
    place = service.data_dir.parent
    if not os.path.ismount(place):
        return False
    ballast = place / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(_BALLAST_BYTES))
        time.sleep(chance.uniform(*FREEZE_SECONDS))
    finally:
        ballast.unlink(missing_ok=True)
    return True


def failing_program(data_dir: Path) -> tuple[str, ...]:
    """Give what Python runs to be a service whose disk fails when told so."""
    return ("-m", "tests.failing_disk", str(_marker(data_dir)))


@contextmanager
def syncs_fail(service: Service) -> Iterator[None]:
    """Let every sync of the service's log fail inside."""
    marker = _marker(service.data_dir)
    marker.touch()
    try:
        yield
    finally:
        marker.unlink()


def fail_syncs(service: Service, chance: random.Random) -> bool:
    """Let the syncs fail for a while: what is asked meanwhile is in doubt, or refused."""
    with syncs_fail(service):
        time.sleep(chance.uniform(*FREEZE_SECONDS))
    return True


def _marker(data_dir: Path) -> Path:
    """While this file is there, syncs fail."""
    return data_dir.with_name(f"{data_dir.name}-syncs-fail")


#: What the service has to live through.
SURVIVED: dict[Fault, int] = {
    kill_worker: 6,
    terminate_worker: 2,
    freeze_worker: 3,
    kill_zygote: 2,
    terminate_zygote: 1,
    freeze_zygote: 1,
    freeze_service: 2,
    flood_connections: 2,
    fill_disk: 2,
    fail_syncs: 3,
}


def _hit(found: list[psutil.Process], number: signal.Signals, chance: random.Random) -> bool:
    if not found:
        return False
    try:
        chance.choice(found).send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def _freeze(found: list[psutil.Process], chance: random.Random) -> bool:
    if not found:
        return False
    process = chance.choice(found)
    try:
        process.suspend()
        time.sleep(chance.uniform(*FREEZE_SECONDS))
        process.resume()
    except psutil.NoSuchProcess:
        return False
    return True
