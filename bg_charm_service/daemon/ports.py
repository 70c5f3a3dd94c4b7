"""Opens the ports that the page and the API are reached by, or says why that cannot be.

Where to listen is `--listen`, else the host and port of `API_URL`, which then have to be this
machine's. Called by the service as it starts.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import psutil

from bg_charm_service.api.auth.allowed_origins import (
    LOOPBACK_HOSTS,
    OriginPolicy,
    ServiceAddress,
    is_loopback,
)
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import ServiceError

#: A name that stands for the loopback addresses of both families.
_BOTH_FAMILIES = "localhost"

#: Addresses of a family that this machine does not have at all.
_FAMILY_ERRNOS = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class Ports:
    """The open ports, and how the service is found by them."""

    sockets: tuple[socket.socket, ...]
    service_address: ServiceAddress

    @property
    def shown(self) -> str:
        return ", ".join(_url_of(each) for each in self.sockets)

    @property
    def numbers(self) -> frozenset[int]:
        return frozenset(each.getsockname()[1] for each in self.sockets)


def own_ports(settings: Settings) -> frozenset[int]:
    """Give the ports that lead to this service, as far as the settings tell: none that is chosen.

    Also that of API_URL when its host is this machine: a proxy may listen there.
    """
    api_url = urlsplit(settings.api_url)
    found = {_port_of(api_url)} if _is_this_machine(api_url.hostname or "") else set()
    if not settings.no_api:
        found.add(_ListenAddress(settings).port)
    if settings.hook_listen is not None:
        found.add(_HookAddress(settings).port)
    return frozenset(found - {0})


@contextmanager
def open_ports(settings: Settings, *, has_token: bool) -> Iterator[Ports]:
    """Open the ports that the settings name; they are closed at the end.

    Raises ServiceError for a port that is taken, for an address that is not of this machine, and
    for one that other machines reach while there is no token.
    """
    if settings.no_api:
        yield Ports(sockets=(), service_address=ServiceAddress())
        return
    listen = _ListenAddress(settings)
    with ExitStack() as stack:
        found = [stack.enter_context(each) for each in _bind_all(listen)]
        bound = [each.getsockname()[0] for each in found]
        if not has_token and not all(is_loopback(host) for host in bound):
            raise ServiceError(
                f"{listen.source} can be reached from other machines, and there is no token yet "
                "that they would need. Make one first: `bg-charm-service token new --name NAME`"
            )
        for each in found:
            each.listen(1024)
        yield Ports(tuple(found), _service_address(settings, listen, found))


def check_listen(settings: Settings) -> None:
    """Raise ServiceError for a host that is not of this machine; no port is looked at."""
    if settings.no_api:
        return
    listen = _ListenAddress(settings)
    listen.port = 0
    for each in _bind_all(listen):
        each.close()


@dataclass(frozen=True, slots=True)
class HookPorts:
    """The open ports of hooks, and what senders call them; nothing of both for none."""

    sockets: tuple[socket.socket, ...] = ()
    url: str = ""


@contextmanager
def open_hook_ports(settings: Settings) -> Iterator[HookPorts]:
    """Open the ports for senders outside, if the settings name any; they are closed at the end.

    Raises ServiceError for a port that is taken, and for an address that is not of this machine.
    Nobody needs a token: what is not signed leads nowhere.
    """
    if settings.hook_listen is None:
        yield HookPorts()
        return
    listen = _HookAddress(settings)
    with ExitStack() as stack:
        found = [stack.enter_context(each) for each in _bind_all(listen)]
        for each in found:
            each.listen(1024)
        host = _url_host(listen.host if not _is_any(listen.host) else _BOTH_FAMILIES)
        url = settings.hook_url or f"http://{host}:{found[0].getsockname()[1]}"
        yield HookPorts(tuple(found), url)


class _ListenAddress:
    """Where to listen: what --listen says, else what API_URL does."""

    #: What says so, and what is to be given for no port at all.
    flag, without = "--listen=HOST:PORT", "--no-api"

    def __init__(self, settings: Settings) -> None:
        self.is_given = settings.listen is not None
        self.api_url: SplitResult = urlsplit(settings.api_url)
        parts = urlsplit(f"//{settings.listen}") if self.is_given else self.api_url
        self.host = (parts.hostname or "").lower()
        self.port = _port_of(parts)
        listen, api_url = f"--listen={settings.listen}", f"API_URL={settings.api_url}"
        self.source = listen if self.is_given else api_url

    def bind_error(self, error: OSError) -> ServiceError:
        """Say in one line why an address cannot be listened on."""
        place = f"{self.source}: port {self.port}"
        if error.errno == errno.EADDRINUSE:
            return ServiceError(
                f"{place} is taken by another program. Stop that one, or give "
                f"{self.flag} with another port, or {self.without} for no port."
            )
        if error.errno == errno.EACCES:
            return ServiceError(
                f"{place} is not for this user: give {self.flag} with a port above 1023."
            )
        return self.not_local_error(error.strerror or str(error))

    def not_local_error(self, reason: str) -> ServiceError:
        """Say that a host is not of this machine."""
        hint = "expected an address of this machine, or localhost"
        if not self.is_given:
            hint = "say where to listen with --listen=HOST:PORT, or --no-api for no port"
        return ServiceError(f"{self.source}: {self.host} is not of this machine ({reason}); {hint}")


class _HookAddress(_ListenAddress):
    """Where to listen for hooks."""

    flag, without = "--hook-listen=HOST:PORT", "no --hook-listen"

    def __init__(self, settings: Settings) -> None:
        self.is_given = True
        parts = urlsplit(f"//{settings.hook_listen}")
        self.host = (parts.hostname or "").lower()
        self.port = _port_of(parts)
        self.source = f"--hook-listen={settings.hook_listen}"


def _bind_all(listen: _ListenAddress) -> list[socket.socket]:
    """Bind each address of the host; all get the same port, also when the system chooses it."""
    found: list[socket.socket] = []
    port = listen.port
    addresses = _addresses(listen)
    try:
        for family, host in addresses:
            try:
                found.append(_bind(family, host, port))
            except OSError as error:
                is_missing = error.errno in _FAMILY_ERRNOS and len(addresses) > 1
                if is_missing and (found or (family, host) != addresses[-1]):
                    continue
                raise listen.bind_error(error) from None
            port = found[0].getsockname()[1]
    except BaseException:
        for each in found:
            each.close()
        raise
    return found


def _addresses(listen: _ListenAddress) -> list[tuple[socket.AddressFamily, str]]:
    if listen.host == _BOTH_FAMILIES:
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        found = socket.getaddrinfo(listen.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no name"
        raise listen.not_local_error(str(reason)) from None
    known = (socket.AF_INET, socket.AF_INET6)
    return list(dict.fromkeys((one[0], str(one[4][0])) for one in found if one[0] in known))


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # Named, because asyncio sends small answers at once (TCP_NODELAY) only where this says TCP:
    # else each but the first of a connection waits some 40 ms for an acknowledgement
    # (findings/uvicorn-nodelay.sh).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A port of a service that just ended may be taken again at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _service_address(
    settings: Settings, listen: _ListenAddress, found: list[socket.socket]
) -> ServiceAddress:
    port = found[0].getsockname()[1]
    bound = {each.getsockname()[0] for each in found}
    is_public = not all(is_loopback(host) for host in bound)
    hosts = {*LOOPBACK_HOSTS, listen.host, *(host for host in bound if not _is_any(host))}
    ports = {port}
    if listen.is_given and listen.api_url.hostname:
        # With both given, API_URL is what people elsewhere call this service.
        hosts.add(listen.api_url.hostname.lower())
        ports.add(_port_of(listen.api_url))
    if is_public:
        hosts.add(socket.gethostname().lower())
    policy = OriginPolicy(
        hosts=frozenset(hosts),
        ports=frozenset(ports),
        is_public=is_public,
        allowed_origins=frozenset(settings.allow_origin),
    )
    host = listen.host
    if _is_any(host) or is_loopback(host):
        # Only the name stands for both families.
        host = _BOTH_FAMILIES if any(_is_any(each) for each in bound) else sorted(bound)[0]
    return ServiceAddress(policy, f"http://{_url_host(host)}:{port}")


def _port_of(parts: SplitResult) -> int:
    if parts.port is None:
        return 443 if parts.scheme == "https" else 80
    return parts.port


def _is_this_machine(host: str) -> bool:
    """Whether a name or address is this machine's; no name server is asked."""
    if host.lower() in (*LOOPBACK_HOSTS, socket.gethostname().lower()) or is_loopback(host):
        return True
    return any(host == one.address for found in psutil.net_if_addrs().values() for one in found)


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{_url_host(host)}:{port}"
