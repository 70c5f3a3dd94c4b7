"""Addresses of targets of notices: which are allowed, and what is shown of one, which is a secret.

Pure. An address is one of Apprise's; nothing here says more of one than its scheme, and its host
where that is no secret. Whether a connection is made to this machine is decided where it is made.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.notices import DOWN_AFTER_SECONDS
from bg_charm_service.domain.quantities import span

#: Schemes whose host is one that people know, and no token.
_HOSTED_NAMES: Final = (
    "apprise apprises form forms gotify gotifys hassio hassios json jsons mailto mailtos mmost "
    "mmosts nctalk nctalks rocket rockets xml xmls"
)
_HOSTED: Final = frozenset(_HOSTED_NAMES.split())

_OTHER_NAMES: Final = (
    "bark barks betterstack brevo clicksend dingtalk discord feishu flock gchat goalert goalerts "
    "googlechat groupme guilded ifttt ilert join lark line mailersend mailgun mastodon mastodons "
    "matrix matrixs misskey misskeys nexmo notifiarr ntfy ntfys o365 opsgenie pagerduty pagertree "
    "pbul postmark pover prowl push pushdeer pushdeers pushy resend revolt ryver schan sendgrid "
    "signal signals signl4 simplepush slack sns sparkpost splunk spush squadcast synology "
    "synologys tgram threema toot toots twilio twist victorops vonage webex wecombot whatsapp "
    "workflow workflows wxteams zulip"
)

#: What may be spoken to: it sends a message over the network, and starts no program.
SCHEMES: Final = _HOSTED | frozenset(_OTHER_NAMES.split())

#: Longer is no address.
LONGEST: Final = 4000

#: Ports that schemes use when their address names none: names, the web, mail.
PLAIN_PORTS: Final = frozenset({53, 80, 443, 25, 465, 587})

_SCHEME = re.compile(r"([a-z0-9]{1,30})://", re.IGNORECASE)
_OPTIONS: Final = ("name", "space", "kinds", "down-after")


@dataclass(frozen=True, slots=True, repr=False)
class GivenTarget:
    """A target of the settings: its address, and what it is to get."""

    url: str
    name: str = ""
    space: str = ""
    kinds: tuple[str, ...] = ()
    down_after_seconds: float = DOWN_AFTER_SECONDS


def scheme_of(url: str) -> str:
    """Give the scheme of an address, in small letters; empty where it has none."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def check_target_url(url: str, closed_ports: Collection[int], *, may_be_local: bool) -> None:
    """Raise InvalidInput for an address that nothing may be sent to; it says nothing secret."""
    scheme = scheme_of(url)
    if not scheme or len(url) > LONGEST or not url.isprintable() or any(map(str.isspace, url)):
        raise InvalidInput(
            "url: This is no address of a target, such as ntfys://HOST/TOPIC or "
            "mailtos://USER:PASSWORD@HOST?to=ADDRESS."
        )
    if scheme not in SCHEMES:
        raise InvalidInput(
            f"url: Nothing is sent by {scheme}://; there are {', '.join(sorted(SCHEMES))}."
        )
    for host, port in endpoints(url):
        if not may_be_local and is_this_machine(host):
            raise InvalidInput(
                "url: This is an address of this machine. Start the service with --notify-local "
                "if it is meant."
            )
        if port in closed_ports:
            raise InvalidInput(f"url: Port {port} leads to this service itself.")


def endpoints(url: str) -> list[tuple[str, int | None]]:
    """Give the hosts that an address names, as far as it does, with their ports."""
    try:
        parts = urlsplit(url)
        found = [(parts.hostname or "", parts.port)]
    except ValueError:
        # Some schemes have something else in that place.
        return []
    for name, value in parse_qsl(parts.query):
        if name.lower() == "smtp":
            host, _, port = value.partition(":")
            found.append((host, int(port) if port.isdecimal() and len(port) < 6 else None))
    return found


def ports_of(url: str) -> frozenset[int]:
    """Give the ports that sending to an address may take."""
    return PLAIN_PORTS | {port for _, port in endpoints(url) if port is not None}


def is_this_machine(host: str, own_addresses: Collection[str] = ()) -> bool:
    """Whether a host, by name or by address, is this machine by what it says."""
    host = host.strip("[]").rstrip(".").partition("%")[0].lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
    return address.is_loopback or address.is_unspecified or str(address) in own_addresses


def masked_target(url: str) -> str:
    """Give what may be shown of an address."""
    scheme = scheme_of(url) or "…"
    if scheme in _HOSTED:
        host, port = next(iter(endpoints(url)), ("", None))
        if host:
            return f"{scheme}://{host}{f':{port}' if port else ''}/…"
    return f"{scheme}://…"


def secret_parts(url: str) -> tuple[str, ...]:
    """Give the texts of an address that must not be told, longest first."""
    _, _, rest = url.partition("://")
    pieces = {piece for piece in re.split(r"[/?&=@:#]+", rest) if len(piece) >= 4}
    shown = {host for host, _ in endpoints(url) if scheme_of(url) in _HOSTED}
    return tuple(sorted({url, rest, *pieces} - shown, key=len, reverse=True))


def note_about(url: str) -> str:
    """Say what surprises about an address; empty for nothing."""
    if scheme_of(url) != "mailtos":
        return ""
    try:
        parts = urlsplit(url)
        query: Mapping[str, str] = dict(parse_qsl(parts.query))
        if parts.port == 465 and query.get("mode", "") != "ssl":
            return (
                "On port 465 most servers want TLS from the first byte, and mailtos:// begins it "
                "by STARTTLS: add mode=ssl to the address if nothing arrives."
            )
    except ValueError:
        pass
    return ""


def read_given_targets(text: str, source: str) -> tuple[GivenTarget, ...]:
    """Read targets, one a line: an address, and options behind it; raises InvalidInput.

    `ntfys://HOST/TOPIC kinds=down,up down-after=5m space=demo name=phone`. Empty lines and those
    that begin with # are left out. What is refused is told by its line, without the address.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            found.append(_given(words))
        except ValueError as error:
            raise InvalidInput(f"{source}, line {number}: {error}.") from None
    return tuple(found)


def _given(words: list[str]) -> GivenTarget:
    url, *rest = words
    if not scheme_of(url):
        raise ValueError("expected an address such as ntfys://HOST/TOPIC first")
    options: dict[str, str] = {}
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in _OPTIONS or not equals or not value:
            raise ValueError(f"expected options such as {'=…, '.join(_OPTIONS)}=…")
        options[name] = value
    after = options.get("down-after")
    return GivenTarget(
        url,
        options.get("name", ""),
        options.get("space", ""),
        tuple(options.get("kinds", "").split(",")) if "kinds" in options else (),
        DOWN_AFTER_SECONDS if after is None else span(after),
    )
