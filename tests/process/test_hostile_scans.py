"""Integrations that write to the service's socket themselves: that scan fails, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bg_charm_service.scanning.protocol import TO_SERVICE, Listed, ReadCell
from bg_charm_service.scanning.scan_client import MAX_CELLS, ScanError
from bg_charm_service.scanning.scanner import Scanner
from tests.process.test_scanner import REF, Service

ANSWER = TO_SERVICE.encode(Listed((), (), initialised=True))
QUESTION = TO_SERVICE.encode(ReadCell("did:key:here", "cell"))

#: What is written, and what is said of it.
FRAMES = {
    "garbage": (b"\xc1" * 100, "is over"),
    "a frame without end": (b"\xff\xff\xff\xff", "is over"),
    "no message": (b"\0\0\0\1\xc1", "does not decode"),
    "deep": ((50_000).to_bytes(4, "big") + b"\x91" * 49_999 + b"\xc0", "does not decode"),
    "two answers": (ANSWER * 2, "goes on after its answer"),
    "half an answer more": (ANSWER + ANSWER[:-1], "goes on after its answer"),
    "questions without end": (QUESTION * (MAX_CELLS + 1), f"more than {MAX_CELLS} cells"),
}

FETCH = """\
import stat
if not os.path.exists({mark!r}):
    for fd in map(int, os.listdir("/proc/self/fd")):
        rest = {said}
        try:
            # One of the sockets is its own.
            while stat.S_ISSOCK(os.fstat(fd).st_mode) and rest:
                rest = rest[os.write(fd, rest):]
        except OSError:
            continue
    threading.Event().wait()
return LIST
"""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A service whose integrations are in a folder of the test."""
    return Service(tmp_path)


@pytest.mark.parametrize(("said", "reason"), FRAMES.values(), ids=FRAMES.keys())
def test_hostile_frames_end_the_scan(service: Service, said: bytes, reason: str) -> None:
    """The process is ended, its scan fails and says why, and the next one starts afresh."""
    mark = service.folder / "good"
    data = service.folder / "said"
    data.write_bytes(said)
    service.write(FETCH.format(mark=str(mark), said=f"open({str(data)!r}, 'rb').read()"))

    async def scan(scanner: Scanner) -> None:
        with pytest.raises(ScanError, match=reason):
            await scanner.scan("mine")
        assert not (await scanner.scan("gmail")).initialised
        mark.touch()
        assert (REF,) == (await scanner.scan("mine")).charms

    service.run(scan)
