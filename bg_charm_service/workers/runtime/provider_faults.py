"""Recognises whose fault an exception is: the charm's own, or that of a provider that it asked.

By the names of an exception's classes, so that no library has to be imported; by errno where a
bare OSError is all there is; by the status of an HTTP answer. Never by a message's text. Causes,
contexts, groups and arguments are looked through. Exceptions may do anything when they are asked.
Used by the worker where a run has failed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from bg_charm_service.domain.outcomes.run_endings import EndingKind, is_host
from bg_charm_service.domain.web.retry_after import named_seconds, retry_after_seconds
from bg_charm_service.workers.runtime.host_watch import HostWatch

#: So many exceptions of one failure are looked at.
_MOST_LINKS: Final = 100

_TRANSPORT: Final = (
    *("ConnectError", "ConnectTimeout", "ReadTimeout", "WriteTimeout"),
    *("ReadError", "WriteError", "CloseError", "RemoteProtocolError"),
)

#: Classes that say that a provider was not reached, or did not answer to the end.
_UNREACHABLE: Final = frozenset(
    {
        *(f"{library}.{name}" for library in ("httpx", "httpx2") for name in _TRANSPORT),
        *(f"{library}.{name}" for library in ("httpcore", "httpcore2") for name in _TRANSPORT),
        *("builtins.ConnectionError", "builtins.TimeoutError"),
        *("socket.gaierror", "socket.herror", "http.client.IncompleteRead"),
        *("requests.exceptions.ConnectionError", "requests.exceptions.Timeout"),
        "requests.exceptions.ChunkedEncodingError",
        *("urllib3.exceptions.NewConnectionError", "urllib3.exceptions.NameResolutionError"),
        *("urllib3.exceptions.ConnectTimeoutError", "urllib3.exceptions.ReadTimeoutError"),
        *("urllib3.exceptions.ProtocolError", "urllib3.exceptions.IncompleteRead"),
        *(
            "aiohttp.client_exceptions.ClientOSError",
            "aiohttp.client_exceptions.ClientPayloadError",
        ),
        "aiohttp.client_exceptions.ServerConnectionError",
        *("smtplib.SMTPServerDisconnected", "imaplib.IMAP4.abort"),
        *("botocore.exceptions.EndpointConnectionError", "botocore.exceptions.ConnectTimeoutError"),
        *("botocore.exceptions.ReadTimeoutError", "botocore.exceptions.ConnectionClosedError"),
    }
)

#: Classes that say that a connection could not be made safe.
_TLS: Final = frozenset(
    {
        "ssl.SSLError",
        "requests.exceptions.SSLError",
        "urllib3.exceptions.SSLError",
        "botocore.exceptions.SSLError",
        "aiohttp.client_exceptions.ClientSSLError",
        "aiohttp.client_exceptions.ClientConnectorSSLError",
        "aiohttp.client_exceptions.ClientConnectorCertificateError",
    }
)

#: Numbers of a bare OSError that say that nobody was reached.
_UNREACHABLE_ERRNO: Final = {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.ETIMEDOUT,
}

#: A mail server's answer for going away; smtplib has it with classes of its own.
_SMTP_GOING_AWAY: Final = 421

_TOO_MANY, _UNAVAILABLE = 429, 503


@dataclass(frozen=True, slots=True)
class Fault:
    """What a provider did: `seconds` is the time that it named, None for none.

    `is_tls` where the connection could not be made safe; `why` says it in a few words. A fault of
    kind None is the charm's own, whatever led to it.
    """

    kind: EndingKind | None
    host: str = ""
    why: str = ""
    seconds: float | None = None
    is_tls: bool = False


_OWN: Final = Fault(None)


def fault_of(error: BaseException, hosts: HostWatch) -> Fault | None:
    """Say whose fault an exception is; None for the charm's own.

    The host is the one that the exceptions name, else the last one that was connected to; empty
    where nobody knows one.
    """
    seen: set[int] = set()
    fault = _verdict(error, hosts, seen)
    if fault is None or fault.kind is None:
        return None
    host = fault.host or next(filter(None, map(_host_of, links_of(error))), "") or hosts.host
    return replace(fault, host=host.lower())


def links_of(error: BaseException) -> Iterator[BaseException]:
    """Give an exception and those that led to it, the nearest first, each once."""
    pending, seen = [error], {id(error)}
    while pending and len(seen) <= _MOST_LINKS:
        one = pending.pop(0)
        yield one
        for link in [*_members(one), *_behind(one)]:
            if id(link) not in seen:
                seen.add(id(link))
                pending.append(link)


def names_of(error: BaseException) -> frozenset[str]:
    """Give the full names of an exception's class and of all its bases."""
    return frozenset(f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__)


def is_tls(error: BaseException) -> bool:
    """Whether an exception itself says that a connection could not be made safe."""
    return not names_of(error).isdisjoint(_TLS)


def is_of_several_addresses(error: BaseException, hosts: HostWatch) -> bool:
    """Whether it is the error of asyncio for several addresses, none of which answered.

    It has neither a class nor a number of its own: told by who raised it, after a connection.
    """
    if type(error) is not OSError or error.errno is not None or hosts.port is None:
        return False
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and place.tb_frame.f_globals.get("__name__") == "asyncio.base_events"


def _verdict(error: BaseException, hosts: HostWatch, seen: set[int]) -> Fault | None:
    """Whose fault an exception is, with all that led to it; None when nothing says so."""
    if id(error) in seen or len(seen) > _MOST_LINKS:
        return None
    seen.add(id(error))
    members = _members(error)
    if members:
        found = [_verdict(member, hosts, seen) for member in members]
        # One that is the charm's own is not to be hidden by the others.
        faults = [one for one in found if one is not None and one.kind is not None]
        return max(faults, key=_weight) if len(faults) == len(members) else _OWN
    own: Fault | None = None
    with suppress(Exception):
        own = _classify(error, hosts)
    if own is not None and (own.kind is not EndingKind.DOWN or own.is_tls):
        return own
    for link in _behind(error):
        inner = _verdict(link, hosts, seen)
        if inner is not None and (own is None or inner.is_tls):
            return inner if own is None or inner.host else replace(inner, host=own.host)
    return own


def _weight(fault: Fault) -> tuple[bool, float]:
    """Of several, who is to be waited for the longest counts."""
    return fault.kind is EndingKind.WAIT, fault.seconds or 0.0


def _classify(error: BaseException, hosts: HostWatch) -> Fault | None:
    """Whose fault an exception is by itself."""
    status = _status_of(error)
    if status is not None:
        return _answered(error, status)
    names = names_of(error)
    if not names.isdisjoint(_TLS):
        return Fault(EndingKind.DOWN, _host_of(error), _tls_reason(error), is_tls=True)
    is_away = getattr(error, "smtp_code", None) == _SMTP_GOING_AWAY and any(
        name.startswith("smtplib.") for name in names
    )
    is_unreachable = (
        not names.isdisjoint(_UNREACHABLE)
        or is_away
        or (isinstance(error, OSError) and error.errno in _UNREACHABLE_ERRNO)
        or is_of_several_addresses(error, hosts)
    )
    return Fault(EndingKind.DOWN, _host_of(error)) if is_unreachable else None


def _answered(error: BaseException, status: int) -> Fault | None:
    """What an answer with an error's status says; 4xx are the charm's own."""
    if status < 400:
        return None
    host, why = _host_of(error), f"answered {status}"
    headers = _headers_of(error)
    if status == _TOO_MANY:
        return Fault(EndingKind.WAIT, host, why, named_seconds(headers))
    if status == _UNAVAILABLE and (seconds := retry_after_seconds(headers)) is not None:
        return Fault(EndingKind.WAIT, host, why, seconds)
    return Fault(EndingKind.DOWN, host, why) if status >= 500 else _OWN


def _status_of(error: BaseException) -> int | None:
    """The status of the HTTP answer that an exception comes with."""
    response = getattr(error, "response", None)
    status: object = None
    if isinstance(response, Mapping):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    elif response is not None:
        status = getattr(response, "status_code", None) or getattr(response, "status", None)
    else:
        names = names_of(error)
        if "urllib.error.HTTPError" in names:
            status = getattr(error, "code", None)
        elif "aiohttp.client_exceptions.ClientResponseError" in names:
            status = getattr(error, "status", None)
    return status if isinstance(status, int) and not isinstance(status, bool) else None


def _headers_of(error: BaseException) -> dict[str, str]:
    """The headers of the HTTP answer that an exception comes with, their names in small letters."""
    response = getattr(error, "response", None)
    headers: Any = None
    if isinstance(response, Mapping):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders")
    elif response is not None:
        headers = getattr(response, "headers", None)
    else:
        headers = getattr(error, "headers", None)
    with suppress(Exception):
        return {str(name).lower(): str(value).strip() for name, value in headers.items()}
    return {}


def _tls_reason(error: BaseException) -> str:
    """What was wrong with a certificate or a connection, in OpenSSL's words."""
    for link in links_of(error):
        if "ssl.SSLError" in names_of(link):
            with suppress(Exception):
                found = getattr(link, "verify_message", None) or getattr(link, "reason", None)
                if found:
                    return " ".join(str(found).replace("_", " ").split()).lower()
    return ""


def _host_of(error: BaseException) -> str:
    """The host that an exception names, or its request does; empty for none."""
    for find in (
        lambda: _host_in(error.request.url),  # type: ignore[attr-defined]
        lambda: _host_in(error.request_info.real_url),  # type: ignore[attr-defined]
        lambda: _host_in(error.response.url),  # type: ignore[attr-defined]
        lambda: _host_in(error.url),  # type: ignore[attr-defined]
        lambda: vars(error)["pool"].host,
        lambda: vars(error)["conn"].host,
        lambda: error.host,  # type: ignore[attr-defined]
        lambda: _host_in(error.kwargs["endpoint_url"]),  # type: ignore[attr-defined]
    ):
        with suppress(Exception):
            host = find()
            if isinstance(host, str) and is_host(host):
                return host
    return ""


def _host_in(url: object) -> str | None:
    host = getattr(url, "host", None)
    return host if isinstance(host, str) else urlsplit(str(url)).hostname


def _members(error: BaseException) -> list[BaseException]:
    with suppress(Exception):
        return list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    return []


def _behind(error: BaseException) -> list[BaseException]:
    """The exceptions that one comes from: its cause, its context, what it was made of."""
    with suppress(Exception):
        context = None if error.__suppress_context__ else error.__context__
        # Some libraries hide the context, and hand on what they caught as an argument.
        found = [error.__cause__, context, *error.args[:_MOST_LINKS]]
        return [link for link in found if isinstance(link, BaseException)]
    return []
