"""Loads libraries where a service believes that the machine has more processors than it has.

What asks the C library (`sched_getaffinity`, `sysconf`), reads `/proc/cpuinfo`, or looks into
`/sys/devices/system/cpu`, is told the other number: by a small library that is preloaded, and by
files that are mounted over those of the kernel, in a mount namespace of the service's own. It takes
root, a C compiler and `unshare`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.service_process import Failed, ServiceProcess
from libraries.catalogue import LibraryCharm
from libraries.measuring import add, flags_for, run, status_mb, why_not

#: Of these the service sees as many.
COUNTS = (6, 8, 12, 16, 64)

#: Once more where the class asks for as many as operators allow by default, of so many.
ASKED, ASKED_OF = 4, 16

_SHIM = Path(__file__).with_suffix(".c")

#: Runs a program where the machine has other processors, as the same process.
_PROGRAM = """\
#!/bin/sh
exec unshare --mount --propagation private -- /bin/sh -ec '
for name in online possible present; do
    mount --bind {folder}/range /sys/devices/system/cpu/$name
done
mount --bind {folder}/cpuinfo /proc/cpuinfo
mount -t overlay -o lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work overlay /etc
echo {folder}/shim.so > /etc/ld.so.preload
exec "$0" "$@"' {program} "$@"
"""

#: What the table of the preloaded library takes, in bytes.
_TABLE_BYTES = 65536 * 16


class CannotPretend(Exception):
    """This machine lacks what it takes; the text says what."""


@dataclass(frozen=True)
class Loaded:
    """How a charm was loaded and ran where there were `processors`, of which it asked for `asked`.

    `mapped_mb` is what its worker has mapped for data then, touched or not.
    """

    charm: LibraryCharm
    processors: int
    asked: int
    problem: str = ""
    mapped_mb: float = 0.0


def load_all(
    charms: Sequence[LibraryCharm], folder: Path, program: Path, python: str
) -> Iterator[Loaded]:
    """Load each charm and run it once, on each number of processors; raises CannotPretend."""
    for processors, asked in (*((count, 1) for count in COUNTS), (ASKED_OF, ASKED)):
        place = folder / f"{processors}-{asked}"
        place.mkdir()
        pretending = _pretend(place, processors, program, python)
        with ServiceProcess(place / "data", *flags_for({}), program=pretending) as service:
            for charm in charms:
                yield _load(service, _asking(charm, asked), processors, asked)


def _load(service: ServiceProcess, charm: LibraryCharm, processors: int, asked: int) -> Loaded:
    try:
        record = run(service, add(service, charm, {}))
    except Failed as error:
        return Loaded(charm, processors, asked, str(error))
    if problem := why_not(record):
        return Loaded(charm, processors, asked, problem)
    return Loaded(charm, processors, asked, mapped_mb=status_mb(record["worker"], "VmData"))


def _asking(charm: LibraryCharm, processors: int) -> LibraryCharm:
    """Let a charm's class ask for processors."""
    if processors == 1:
        return charm
    head, mark, body = charm.source.partition("(Charm):\n")
    asks = f'    limits = {{"processors": {processors}}}\n'
    documented, quotes, rest = body.partition('."""\n')
    return replace(charm, source=f"{head}{mark}{documented}{quotes}\n{asks}{rest}")


def _pretend(folder: Path, processors: int, program: Path, python: str) -> Path:
    """Make the program that starts another one there; raises CannotPretend."""
    if os.geteuid() != 0:
        raise CannotPretend("only root can mount over files of the kernel")
    compiler = shutil.which("cc")
    if compiler is None or shutil.which("unshare") is None:
        raise CannotPretend("there is no C compiler, or no unshare")
    for name in ("upper", "work"):
        (folder / name).mkdir()
    (folder / "range").write_text(f"0-{processors - 1}\n")
    (folder / "cpuinfo").write_text(_cpuinfo(processors))
    (folder / "table").write_bytes(bytes(_TABLE_BYTES))
    # Workers may be of another user than the service.
    (folder / "table").chmod(0o666)
    defined = (f"-DPROCESSORS={processors}", f'-DTABLE="{folder}/table"')
    command = [compiler, "-O1", "-shared", "-fPIC", *defined, str(_SHIM)]
    subprocess.run([*command, "-o", str(folder / "shim.so")], check=True)
    pretending = folder / "program"
    pretending.write_text(_PROGRAM.format(folder=folder, program=program))
    pretending.chmod(0o700)
    _check(folder, processors, python)
    return pretending


def _check(folder: Path, processors: int, python: str) -> None:
    """See that it is believed by who asks the system and who asks for its own."""
    question = "import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))"
    asking = folder / "asking"
    asking.write_text(_PROGRAM.format(folder=folder, program=python))
    asking.chmod(0o700)
    done = subprocess.run(
        [str(asking), "-c", question], capture_output=True, text=True, check=False
    )
    if done.stdout.split() != [str(processors)] * 2:
        said = (done.stdout + done.stderr).strip()
        raise CannotPretend(f"another number of processors is not believed ({said})")


def _cpuinfo(processors: int) -> str:
    """Give what the kernel says of the first processor, once for each."""
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    of_one = [line for line in first.splitlines() if not line.startswith("processor")]
    return "".join(
        "\n".join([f"processor\t: {number}", *of_one, "", ""]) for number in range(processors)
    )
