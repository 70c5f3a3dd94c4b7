"""Small packages for tests: wheels made on the spot, and an index of them on this machine."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
    python: str = "",
) -> Path:
    """Write a wheel; by default it holds a module of its name that says its version."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {each}" for each in requires]
    metadata += [f"Requires-Python: {python}"] if python else []
    content = dict(files or {f"{name}/__init__.py": f"version = {version!r}\n"})
    content[f"{info}/METADATA"] = "\n".join(metadata) + "\n"
    content[f"{info}/WHEEL"] = _WHEEL
    record = "".join(
        f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in content.items()
    )
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return wheel


#: A backend that is a part of its package: nothing else is needed to build it.
_BACKEND = """\
import pathlib
import zipfile

NAME, VERSION = {name!r}, {version!r}

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    made = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    files = {{
        f"{{NAME}}/__init__.py": "version = " + repr(VERSION) + "\\n",
        f"{{info}}/METADATA": f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n",
        f"{{info}}/WHEEL": {wheel!r},
    }}
    files[f"{{info}}/RECORD"] = "".join(f"{{path}},,\\n" for path in [*files, f"{{info}}/RECORD"])
    with zipfile.ZipFile(pathlib.Path(wheel_directory, made), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made
"""


def make_sdist(folder: Path, name: str, version: str) -> Path:
    """Write an archive of sources that builds itself to what `make_wheel` makes by default."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "backend/own_backend.py": _BACKEND.format(name=name, version=version, wheel=_WHEEL),
        "pyproject.toml": "[build-system]\nrequires = []\n"
        'build-backend = "own_backend"\nbackend-path = ["backend"]\n\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\n',
    }
    made = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(made, "w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return made


def script(*requires: str, python: str = "") -> str:
    """Write the block of a file that needs these packages."""
    lines = ["# /// script"]
    if python:
        lines.append(f'# requires-python = "{python}"')
    listed = ", ".join(f'"{each}"' for each in requires)
    return "\n".join([*lines, f"# dependencies = [{listed}]", "# ///\n"])


class Index:
    """An index of packages over HTTP; it can be made to hold files back."""

    def __init__(self, folder: Path, server: ThreadingHTTPServer) -> None:
        self.folder = folder
        self._server = server
        self.asked: list[str] = []
        #: What its pages say of files besides those in the folder.
        self.more_links: list[str] = []
        #: Set once a file was asked for; a file is sent when `may_send` is set.
        self.was_asked_for_a_file = threading.Event()
        self.may_send = threading.Event()
        self.may_send.set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}/simple"

    def answer(self, path: str) -> bytes | None:
        """Give what lies at a path; None for nothing."""
        self.asked.append(path)
        kind, _, name = path.strip("/").partition("/")
        if kind == "simple":
            wheels = sorted(self.folder.glob(f"{name.replace('-', '_')}-*.whl"))
            links = [f'<a href="/files/{one.name}">{one.name}</a>' for one in wheels]
            links += self.more_links
            return "\n".join(links).encode() if links else None
        file = self.folder / name
        if not file.is_file():
            return None
        self.was_asked_for_a_file.set()
        self.may_send.wait()
        return file.read_bytes()


@contextmanager
def serve(folder: Path) -> Iterator[Index]:
    """Have an index of the wheels in a folder."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = index.answer(self.path)
            self.send_response(404 if answer is None else 200)
            kind = "text/html" if self.path.startswith("/simple") else "application/zip"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer or b"")))
            self.end_headers()
            # Whoever asked may be gone.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(answer or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        index = Index(folder, server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield index
        finally:
            index.may_send.set()
            server.shutdown()
            thread.join()


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
