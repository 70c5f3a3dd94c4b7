"""Promises of .ci/audit: pip-audit asks a server of ours, and no silence passes for an answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".ci" / "audit"

#: The package with a hole that is asked about before all others.
KNOWN = ("jinja2", "3.1.5")

Holes = dict[tuple[str, str], dict[str, Any]]


def hole(name: str, fixed: str, **more: object) -> dict[str, Any]:
    """An advisory as OSV's servers give it."""
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = {
        "package": {"name": name, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {"id": f"OURS-{name}", "summary": "a hole", "affected": [affected], **more}


#: What a server with advisories knows anyway.
GOOD: Holes = {KNOWN: hole("jinja2", "3.1.6")}


class Server(ThreadingHTTPServer):
    """An OSV server on loopback that knows some holes."""

    daemon_threads = True

    def __init__(self, holes: Holes, broken: str, silent: str) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.holes = holes
        self.broken = broken
        self.silent = silent
        self.asked: list[tuple[str, str]] = []
        self.is_over = threading.Event()


class Answers(BaseHTTPRequestHandler):
    """Answers one question; of some packages with an error, of some never."""

    server: Server

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = (query["package"]["name"], query["version"])
        self.server.asked.append(asked)
        if asked[0] == self.server.silent:
            self.server.is_over.wait()
        is_broken = asked[0] == self.server.broken
        known = self.server.holes.get(asked)
        answer = json.dumps({"vulns": [known]} if known else {}).encode()
        self.send_response(HTTPStatus.SERVICE_UNAVAILABLE if is_broken else HTTPStatus.OK)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server(holes: Holes, *, broken: str = "", silent: str = "") -> Iterator[Server]:
    """Let a server run meanwhile."""
    with Server(holes, broken, silent) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.is_over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    """Two packages."""
    file = tmp_path / "pins.txt"
    file.write_text("some_package==1.0\nother==2.0\n")
    return file


def audit(file: Path, url: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Look up a file at a server."""
    return subprocess.run(
        [sys.executable, PROGRAM, "--osv-url", url, *options, file],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "NO_PROXY": "*", **environ},
    )


def url_of(running: Server) -> str:
    """Where to ask a server."""
    return f"http://127.0.0.1:{running.server_port}/v1/query"


def test_packages_without_a_hole_pass(pins: Path) -> None:
    """Each package is asked about by name and version, after the one whose hole is known."""
    with server(GOOD) as running:
        done = audit(pins, url_of(running))

    assert (0, "pins.txt: no known hole in 2 packages\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )
    assert KNOWN == running.asked[0]
    assert {("some-package", "1.0"), ("other", "2.0")} == set(running.asked[1:])


def test_a_hole_fails(pins: Path) -> None:
    """It is named, with the file that pins it and the version that mends it."""
    with server({**GOOD, ("some-package", "1.0"): hole("some-package", "1.1")}) as running:
        done = audit(pins, url_of(running))

    assert (1, "") == (done.returncode, done.stderr)
    assert "pins.txt: some-package 1.0 has OURS-some-package (mended in 1.1)\n" == done.stdout


def test_a_server_without_advisories_fails(pins: Path) -> None:
    """A mirror that knows of no hole at all says nothing about ours."""
    with server({}) as running:
        done = audit(pins, url_of(running))

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.endswith(" knows no hole of jinja2 3.1.5, which has one\n")
    assert [KNOWN] == running.asked


def test_a_server_that_is_not_there_fails(pins: Path) -> None:
    """Nothing was looked up, and the reason is told in one line."""
    with server(GOOD) as gone:
        url = url_of(gone)
    done = audit(pins, url)

    assert (2, "") == (done.returncode, done.stdout)
    assert re.fullmatch(r"audit: nothing could be looked up: .*refused.*\n", done.stderr)


def test_a_server_that_does_not_answer_fails(pins: Path) -> None:
    """Silence is no answer."""
    with server(GOOD, silent="jinja2") as running:
        done = audit(pins, url_of(running), "--timeout-seconds=1")

    assert (2, "") == (done.returncode, done.stdout)
    assert re.fullmatch(r"audit: nothing could be looked up: .*timed out.*\n", done.stderr)


def test_a_server_that_answers_with_an_error_fails(pins: Path) -> None:
    """An error is no answer."""
    with server(GOOD, broken="jinja2") as running:
        done = audit(pins, url_of(running))

    assert (2, "") == (done.returncode, done.stdout)
    assert re.fullmatch(r"audit: nothing could be looked up: .*503.*\n", done.stderr)


def test_an_advisory_that_cannot_be_read_fails(pins: Path) -> None:
    """What pip-audit leaves out with a warning is not taken for nothing."""
    newer = hole("jinja2", "3.1.6", schema_version="2.0.0")
    with server({KNOWN: newer}) as running:
        done = audit(pins, url_of(running))

    assert (2, "") == (done.returncode, done.stdout)
    assert "an answer could not be read: Unsupported OSV schema version: 2.0.0" in done.stderr


def test_a_package_that_was_skipped_fails(pins: Path, tmp_path: Path) -> None:
    """A pip-audit that skips a package, and exits with 0, does not pass."""
    (tmp_path / "pip_audit.py").write_text(
        "import json, sys\n"
        'known = {"name": "jinja2", "version": "3.1.5",'
        ' "vulns": [{"id": "X", "fix_versions": []}]}\n'
        'one = {"name": "other", "version": "2.0", "vulns": []}\n'
        'skipped = {"name": "some-package", "skip_reason": "not found"}\n'
        'print(json.dumps({"dependencies": [known, one, skipped]}))\n'
    )
    done = audit(pins, "http://127.0.0.1:9/", PYTHONPATH=str(tmp_path))

    assert (2, "") == (done.returncode, done.stdout)
    assert "audit: could not be looked up: some-package 1.0\n" == done.stderr


def test_what_is_no_pin_fails(pins: Path) -> None:
    """A line that pip-audit might pass over is named."""
    pins.write_text("other>=2.0\n")
    done = audit(pins, "http://127.0.0.1:9/")

    assert 2 == done.returncode
    assert "audit: pins.txt: other>=2.0 is not name==version\n" == done.stderr
