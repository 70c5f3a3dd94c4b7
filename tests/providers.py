"""Servers that fail in the ways in which real ones do, in threads of the test's own process.

Each listens on a free port of this machine: one that resets, hangs, goes away, answers with a
status, or has a certificate that nobody knows. Used by the tests of what a run's end means.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: What a server does with one connection.
Deed = Callable[[socket.socket], None]

#: A name that no resolver knows (RFC 6761).
NO_HOST = "no-such-host.invalid"


def answer(status: str, *headers: str, body: bytes = b"") -> Deed:
    """Answer a request with a status, `503 Busy`, and headers."""
    # Said, since a client that keeps its connection would meet its end with the next request.
    fixed = [f"Content-Length: {len(body)}", "Connection: close"]
    lines = [f"HTTP/1.1 {status}", *fixed, *headers, "", ""]

    def deed(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall("\r\n".join(lines).encode() + body)

    return deed


def reset(connection: socket.socket) -> None:
    """Take a request, and reset the connection."""
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def go_away(connection: socket.socket) -> None:
    """Take a request, and close the connection without an answer."""
    connection.recv(65536)


def break_off(connection: socket.socket) -> None:
    """Answer less than was said."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")


def hang(connection: socket.socket) -> None:
    """Answer nothing, for as long as the other side waits."""
    while connection.recv(65536):
        pass


@dataclass
class Provider:
    """One server; `deed` may be changed while it runs, `asked` counts its connections."""

    deed: Deed
    tls: ssl.SSLContext | None = None
    asked: int = 0
    port: int = 0
    _listening: socket.socket | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Provider:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._listen, args=(self._listening,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listening is not None:
            # Closing alone would leave a thread in accept.
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()

    @property
    def url(self) -> str:
        """Where it answers, by a name that has several addresses on most machines."""
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}/"

    def _listen(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.asked += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.tls is not None:
                with self.tls.wrap_socket(connection, server_side=True) as safe:
                    self.deed(safe)
            else:
                self.deed(connection)


def refused_url() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return f"http://localhost:{port}/"


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for localhost that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
