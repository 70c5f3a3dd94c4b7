"""Whose fault an exception is: told for every plain client, from what its own failures are."""

from __future__ import annotations

import asyncio
import errno
import imaplib
import smtplib
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import formatdate
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.sdk.endings import ProviderDown, SignInNeeded, Stop, Wait
from bg_charm_service.workers.runtime.failure_report import end_of, refused
from bg_charm_service.workers.runtime.host_watch import HOSTS, HostWatch
from bg_charm_service.workers.runtime.provider_faults import Fault, fault_of
from bg_charm_service.workers.runtime.refusals import NO_WALLS
from tests.providers import (
    NO_HOST,
    Provider,
    answer,
    break_off,
    go_away,
    hang,
    refused_url,
    reset,
    self_signed,
)
from tests.unit.test_failure_report import BEHIND, SPEC, by_the_system

#: A client that waits for longer than this is not served, in seconds.
TIMEOUT_SECONDS = 0.2

#: Clients of HTTP that the tests have installed. What those of aiohttp, botocore and httpx raise
#: was looked up with the real ones; their names are in `NAMED`.
requests, urllib3 = import_module("requests"), import_module("urllib3")


def by_httpx2(url: str) -> None:
    """Ask by httpx2."""
    httpx2.get(url, timeout=TIMEOUT_SECONDS).raise_for_status()


def by_httpx2_async(url: str) -> None:
    """Ask by httpx2, with tasks."""

    async def get() -> None:
        async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            (await client.get(url)).raise_for_status()

    asyncio.run(get())


def by_requests(url: str) -> None:
    """Ask by requests."""
    requests.get(url, timeout=TIMEOUT_SECONDS).raise_for_status()


def by_urllib3(url: str) -> None:
    """Ask by urllib3."""
    with urllib3.PoolManager(timeout=TIMEOUT_SECONDS, retries=1) as pool:
        pool.request("GET", url)


def by_urllib(url: str) -> None:
    """Ask by urllib."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - our own
        response.read()


def by_asyncio(url: str) -> None:
    """Ask by asyncio."""
    parts = urlsplit(url)

    async def get() -> None:
        # Certificates are read before: on a busy machine that alone may take longer.
        safe = ssl.create_default_context() if parts.scheme == "https" else None
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=safe)
            try:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                await writer.drain()
                await reader.read()
            finally:
                writer.close()

    asyncio.run(get())


def by_socket(url: str) -> None:
    """Ask by socket."""
    parts = urlsplit(url)
    address = parts.hostname or "", parts.port or 80
    with socket.create_connection(address, timeout=TIMEOUT_SECONDS) as connection:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            with context.wrap_socket(connection, server_hostname=parts.hostname):
                return
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection.recv(100)


def by_smtplib(url: str) -> None:
    """Ask by smtplib."""
    parts = urlsplit(url)
    smtplib.SMTP(parts.hostname or "", parts.port or 25, timeout=TIMEOUT_SECONDS).close()


def by_imaplib(url: str) -> None:
    """Ask by imaplib."""
    parts = urlsplit(url)
    imaplib.IMAP4(parts.hostname or "", parts.port or 143, timeout=TIMEOUT_SECONDS).shutdown()


HTTP = (by_httpx2, by_httpx2_async, by_requests, by_urllib)
ALL = (*HTTP, by_urllib3, by_asyncio, by_socket, by_smtplib, by_imaplib)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of providers that fail in each way."""
    HOSTS.install()
    context = self_signed(tmp_path_factory.mktemp("tls"))
    with ExitStack() as stack:
        providers = {
            "reset": Provider(reset),
            "hang": Provider(hang),
            "goes away": Provider(go_away),
            "breaks off": Provider(break_off),
            "tls": Provider(go_away, context),
            "503": Provider(answer("503 Busy")),
            "503 with a time": Provider(answer("503 Busy", "Retry-After: 70")),
            "500": Provider(answer("500 Broken")),
            "429": Provider(answer("429 Too Many Requests")),
            "429 with a time": Provider(answer("429 Too Many Requests", "Retry-After: 3600")),
            "404": Provider(answer("404 Not Found")),
            "410": Provider(answer("410 Gone")),
        }
        found = {name: stack.enter_context(one).url for name, one in providers.items()}
        yield found | {"refused": refused_url(), "no name": f"http://{NO_HOST}:80/"}


def error_of(call: Callable[[], object]) -> BaseException:
    """What a call raises, in a run of its own."""
    HOSTS.begin()
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def fault(call: Callable[[], object]) -> Fault | None:
    """Whose fault it is that a call raises."""
    return fault_of(error_of(call), HOSTS)


@pytest.mark.parametrize("client", ALL)
@pytest.mark.parametrize("kind", ["refused", "no name", "hang"])
def test_provider_that_is_not_reached_is_down(
    urls: dict[str, str], client: Callable[[str], None], kind: str
) -> None:
    """Refused, unknown and silent hosts are down, by their names, whichever client asked."""
    host = NO_HOST if kind == "no name" else "localhost"
    found = fault(lambda: client(urls[kind]))
    assert found is not None
    assert (EndingKind.DOWN, host, False) == (found.kind, found.host, found.is_tls)


@pytest.mark.parametrize("client", [*HTTP, by_urllib3, by_asyncio, by_socket])
def test_connection_that_is_reset_is_a_providers_fault(
    urls: dict[str, str], client: Callable[[str], None]
) -> None:
    """So is one that is closed before an answer, and an answer that is broken off."""
    found = fault(lambda: client(urls["reset"]))
    assert found is not None
    assert (EndingKind.DOWN, "localhost") == (found.kind, found.host)


@pytest.mark.parametrize("client", [*HTTP, by_urllib3])
@pytest.mark.parametrize("kind", ["goes away", "breaks off"])
def test_answer_that_does_not_come_is_a_providers_fault(
    urls: dict[str, str], client: Callable[[str], None], kind: str
) -> None:
    """A connection that is closed before the end of the answer says that the host is down."""
    found = fault(lambda: client(urls[kind]))
    assert found is not None
    assert (EndingKind.DOWN, "localhost") == (found.kind, found.host)


@pytest.mark.parametrize("client", [*HTTP, by_urllib3, by_asyncio, by_socket])
def test_certificate_that_nobody_knows_is_named(
    urls: dict[str, str], client: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of TLS says so, with the host and the reason; it is never taken for a wall's."""
    # Only a provider that hangs has to run into it; on a busy machine a handshake takes longer.
    monkeypatch.setitem(globals(), "TIMEOUT_SECONDS", 30.0)
    error = error_of(lambda: client(urls["tls"]))
    failure, ending = end_of(error, SPEC, "", HOSTS, BEHIND)
    assert (FailureCause.TLS, "TLS with localhost: self-signed certificate") == (
        failure.cause,
        failure.message,
    )
    assert ending is not None
    assert (EndingKind.DOWN, "localhost") == (ending.kind, ending.host)


@pytest.mark.parametrize("client", HTTP)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("500", Fault(EndingKind.DOWN, "localhost", "answered 500")),
        ("503", Fault(EndingKind.DOWN, "localhost", "answered 503")),
        ("503 with a time", Fault(EndingKind.WAIT, "localhost", "answered 503", 70.0)),
        ("429", Fault(EndingKind.WAIT, "localhost", "answered 429")),
        ("429 with a time", Fault(EndingKind.WAIT, "localhost", "answered 429", 3600.0)),
        ("404", None),
        ("410", None),
    ],
)
def test_status_says_whose_fault_it_is(
    urls: dict[str, str], client: Callable[[str], None], kind: str, expected: Fault | None
) -> None:
    """5xx is a provider's, 429 and a 503 with a time ask to wait, other 4xx are the charm's own."""
    assert expected == fault(lambda: client(urls[kind]))


class Answered(Exception):
    """An error of some client that comes with the answer."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__("the text says nothing")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = SimpleNamespace(
            status_code=status, headers=names, url="https://api.example.org/v1"
        )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "90"}, 90.0),
        ({"retry_after": " 1.5 "}, 1.5),
        ({"RETRY_AFTER": "0"}, 0.0),
        ({"X_RateLimit_Reset": "45"}, 45.0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "1e9"}, None),
        ({"Retry_After": "9" * 30}, None),
        ({}, None),
    ],
)
def test_time_that_a_provider_names(headers: dict[str, str], seconds: float | None) -> None:
    """Retry-After in seconds, else X-RateLimit-Reset; what is no number names none."""
    found = fault_of(Answered(429, **headers), HostWatch())
    assert Fault(EndingKind.WAIT, "api.example.org", "answered 429", seconds) == found


def test_moment_that_a_provider_names() -> None:
    """A date of HTTP, and a moment in seconds since the epoch."""
    later = time.time() + 600
    for header in (
        {"Retry_After": formatdate(later, usegmt=True)},
        {"X_RateLimit_Reset": f"{later:.0f}"},
    ):
        found = fault_of(Answered(429, **header), HostWatch())
        assert found is not None
        assert found.seconds == pytest.approx(600, abs=60)


def named(name: str, *bases: type[BaseException], **members: object) -> BaseException:
    """An exception of a library's class, which is known by its module and name alone."""
    module, _, qualname = name.rpartition(".")
    cls: Any = type(qualname, bases or (Exception,), {"__module__": module})
    error: BaseException = cls("some text")
    for member, value in members.items():
        setattr(error, member, value)
    return error


CONNECTOR = {"host": "api.example.org"}
ENDPOINT = {"kwargs": {"endpoint_url": "https://s3.example.org/"}}
BUSY = {"HTTPStatusCode": 503, "HTTPHeaders": {"retry-after": "7", "host": "x"}}
NAMED = {
    "aiohttp, refused": named("aiohttp.client_exceptions.ClientOSError", OSError, **CONNECTOR),
    "aiohttp, gone": named("aiohttp.client_exceptions.ServerConnectionError", **CONNECTOR),
    "aiohttp, broken off": named("aiohttp.client_exceptions.ClientPayloadError", **CONNECTOR),
    "botocore, refused": named("botocore.exceptions.EndpointConnectionError", **ENDPOINT),
    "botocore, slow": named("botocore.exceptions.ReadTimeoutError", **ENDPOINT),
    "botocore, closed": named("botocore.exceptions.ConnectionClosedError", **ENDPOINT),
    "httpx, reset": named(
        "httpx.ReadError", request=SimpleNamespace(url="https://api.example.org/")
    ),
}


@pytest.mark.parametrize("error", NAMED.values(), ids=NAMED)
def test_classes_are_known_by_name(error: BaseException) -> None:
    """None of the libraries has to be imported, or installed."""
    found = fault_of(error, HostWatch())
    assert found is not None
    assert EndingKind.DOWN is found.kind
    assert found.host in ("api.example.org", "s3.example.org")


def test_answers_of_libraries_with_other_shapes() -> None:
    """Botocore has a dictionary, aiohttp the status at the error itself."""
    response = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": BUSY}
    error = named("botocore.exceptions.ClientError", response=response)
    assert Fault(EndingKind.WAIT, "", "answered 503", 7.0) == fault_of(error, HostWatch())
    error = named(
        "aiohttp.client_exceptions.ClientResponseError",
        status=502,
        headers=None,
        request_info=SimpleNamespace(real_url="https://api.example.org/"),
    )
    assert Fault(EndingKind.DOWN, "api.example.org", "answered 502") == fault_of(error, HostWatch())


@pytest.mark.parametrize(
    "number",
    [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT],
)
def test_numbers_that_say_that_nobody_was_reached(number: int) -> None:
    """A bare error of the system is known by its number."""
    found = fault_of(OSError(number, "no"), HostWatch())
    assert found is not None
    assert EndingKind.DOWN is found.kind


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Connection refused"),
        OSError("Multiple exceptions: [Errno 111] Connect call failed"),
        OSError(errno.ENOENT, "No such file or directory"),
        FileNotFoundError(errno.ENOENT, "timed out"),
        asyncio.IncompleteReadError(b"", 5),
        Answered(404),
        Answered(401),
        Answered(200),
        smtplib.SMTPAuthenticationError(535, b"no"),
        imaplib.IMAP4.error("NO"),
    ],
)
def test_everything_else_is_the_charms_own(error: BaseException) -> None:
    """No text is read: what only says so is a failure like any other."""
    assert fault_of(error, HOSTS) is None


def test_mail_server_that_goes_away() -> None:
    """Its answer 421 is that of a server that shuts down."""
    found = fault_of(smtplib.SMTPResponseException(421, b"shutting down"), HostWatch())
    assert found is not None
    assert EndingKind.DOWN is found.kind


def wrapped(inner: Exception) -> Exception:
    """What an author makes of an error that was caught."""
    try:
        try:
            raise inner
        except type(inner) as error:
            raise LookupError("the feed could not be read") from error
    except LookupError as error:
        return error


def test_causes_and_groups_are_looked_through() -> None:
    """An author's own error hides nothing, nor does a group of tasks that failed alike."""
    error = Answered(429, Retry_After="60")
    expected = Fault(EndingKind.WAIT, "api.example.org", "answered 429", 60.0)
    group = ExceptionGroup("tasks", [Answered(500), wrapped(error)])
    assert expected == fault_of(wrapped(error), HostWatch()) == fault_of(group, HostWatch())


def test_fault_of_its_own_is_not_hidden_by_others() -> None:
    """A group in which one task failed by itself is a failure, and so is a 404 after a retry."""
    assert fault_of(ExceptionGroup("tasks", [Answered(500), KeyError("a")]), HostWatch()) is None
    answered = Answered(404)
    answered.__context__ = ConnectionResetError(errno.ECONNRESET, "reset")
    assert fault_of(answered, HostWatch()) is None


def test_exceptions_may_do_anything_when_asked() -> None:
    """One that fails, leads to itself, or has no end, is a failure like any other."""

    class Sly(Exception):
        @property
        def response(self) -> object:
            raise SystemError("no")

    circle = ValueError("a")
    circle.__cause__ = Sly()
    circle.__cause__.__cause__ = circle
    deep: BaseException = KeyError("deep")
    for _ in range(1000):
        outer = KeyError("outer")
        outer.__cause__ = deep
        deep = outer
    assert fault_of(circle, HostWatch()) is fault_of(deep, HostWatch()) is None


def test_error_of_several_addresses_is_read_by_what_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asyncio joins what several addresses said to an error without class or number."""

    def addresses(*_: object, **__: object) -> list[Any]:
        port = int(urlsplit(url).port or 0)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.1", "127.0.0.2")
        ]

    HOSTS.install()
    url = refused_url()
    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    error = error_of(lambda: by_asyncio(url))
    assert (OSError, None) == (type(error), getattr(error, "errno", None))
    found = fault_of(error, HOSTS)
    assert found is not None
    assert (EndingKind.DOWN, "127.0.0.2") == (found.kind, found.host)
    port = HOSTS.port
    assert port is not None
    closed, opened = Limits(ports=(443,)), Limits(ports=(port,))
    assert FailureCause.FORBIDDEN is refused(error, closed, HOSTS, BEHIND)[0]
    assert FailureCause.ERROR is refused(error, opened, HOSTS, BEHIND)[0]
    assert FailureCause.ERROR is refused(error, closed, HOSTS, NO_WALLS)[0]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_only_a_wall_forbids(number: int) -> None:
    """A number that a library gives to its own errors is none of the system's."""
    remote: dict[str, Any] = {}
    source = "def read(number):\n    raise PermissionError(number, 'remote file')"
    # Code of a library, which raises by a statement.
    exec(compile(source, "/lib/site-packages/remote.py", "exec"), remote)
    mine = error_of(lambda: remote["read"](number))
    assert FailureCause.ERROR is refused(mine, Limits(), HostWatch(), BEHIND)[0]
    systems = by_the_system(PermissionError(number, "local file"))
    assert FailureCause.FORBIDDEN is refused(systems, Limits(), HostWatch(), BEHIND)[0]


def test_names_that_may_not_be_looked_up_are_forbidden() -> None:
    """A charm without a network finds no host, and that is no fault of the host's."""
    error = by_the_system(socket.gaierror(socket.EAI_AGAIN, "Temporary failure"))
    without = Limits(ports=())
    assert FailureCause.FORBIDDEN is refused(error, without, HostWatch(), BEHIND)[0]
    assert FailureCause.ERROR is refused(error, Limits(), HostWatch(), BEHIND)[0]


def test_host_is_that_of_the_last_connection() -> None:
    """An address goes by the name that was looked up for it; another one by itself."""
    watch = HostWatch()
    assert ("", None) == (watch.host, watch.port)
    watch._see("socket.getaddrinfo", ("API.example.org", 443, 0, 0, 0))
    assert ("api.example.org", None) == (watch.host, watch.port)
    watch._see("socket.connect", (None, ("192.0.2.1", 443)))
    assert ("api.example.org", 443) == (watch.host, watch.port)
    watch._see("socket.connect", (None, ("192.0.2.7", 5432)))
    assert ("192.0.2.7", 5432) == (watch.host, watch.port)
    watch._see("socket.connect", (None, "/run/some.socket"))
    watch._see("socket.getaddrinfo", (b"bytes.example.org", "https", 0, 0, 0))
    assert "bytes.example.org" == watch.host
    watch._see("socket.getaddrinfo", (None, None, 0, 0, 0))
    assert "" == watch.host
    watch.begin()
    assert "" == watch.host


def test_host_is_seen_from_threads(urls: dict[str, str]) -> None:
    """A client in a thread of its own is seen as well."""
    HOSTS.begin()
    thread = threading.Thread(target=error_of, args=(lambda: by_socket(urls["refused"]),))
    thread.start()
    thread.join()
    assert "localhost" == HOSTS.host


@pytest.mark.parametrize(
    ("said", "cause", "ending"),
    [
        (Wait(60, "later"), FailureCause.WAIT, Ending(EndingKind.WAIT, 60.0, "later")),
        (
            ProviderDown("maintenance", host="https://API.example.org/v1"),
            FailureCause.DOWN,
            Ending(EndingKind.DOWN, None, "maintenance", "api.example.org"),
        ),
        (
            SignInNeeded("revoked", url="https://example.org/in"),
            FailureCause.SIGN_IN,
            Ending(EndingKind.SIGN_IN, None, "revoked", url="https://example.org/in"),
        ),
        (Stop("done"), FailureCause.STOP, Ending(EndingKind.STOP, None, "done")),
    ],
)
def test_what_a_charm_says_itself_counts(
    said: Exception, cause: FailureCause, ending: Ending
) -> None:
    """Raised by itself, or behind errors of an author or of a group of tasks."""
    for error in (said, wrapped(said), ExceptionGroup("tasks", [said])):
        failure, found = end_of(error, SPEC, "", HostWatch())
        assert (cause, ending) == (failure.cause, found)


def test_provider_without_a_host_is_an_ordinary_failure() -> None:
    """Nobody could be told who is down."""
    for error in (ProviderDown("it is"), ConnectionRefusedError(errno.ECONNREFUSED, "refused")):
        failure, ending = end_of(error, SPEC, "", HostWatch())
        assert (FailureCause.ERROR, None) == (failure.cause, ending)
    failure, ending = end_of(ssl.SSLError(1, "no"), SPEC, "", HostWatch(), BEHIND)
    assert (FailureCause.TLS, None) == (failure.cause, ending)
