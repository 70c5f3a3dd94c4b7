"""The kill loop as a program: `python -m tests.soak --minutes 10 --seed 7`.

Exits with 1 when anything was lost, came twice or went over a limit; the data directory is kept
then.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.loop import KillLoop
from tests.soak.small_disk import small_disk


def main() -> int:
    """Run the loop for some minutes."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (default: 2)")
    parser.add_argument("--seed", type=int, default=None, help="of the blows (default: drawn)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(2**31)
    folder = Path(tempfile.mkdtemp(prefix="bg-charm-soak-"))
    disk = folder / "disk"
    disk.mkdir()
    with small_disk(disk) as why_not:
        if why_not:
            print(why_not, file=sys.stderr)
        loop = KillLoop(disk / "data", seed)
        report = loop.run(lambda _, seconds: seconds >= given.minutes * 60)
        print(report.to_json() if given.json else "\n".join(report.lines()))
        if report.violations:
            shutil.copytree(disk / "data", folder / "data", ignore=_no_sockets)
            print(f"seed {seed}: the data directory is kept, {folder}", file=sys.stderr)
            return 1
    shutil.rmtree(folder)
    return 0


def _no_sockets(folder: str, names: list[str]) -> list[str]:
    """Name what cannot be copied: the sockets of a service that was killed."""
    return [name for name in names if Path(folder, name).is_socket()]


if __name__ == "__main__":
    sys.exit(main())
