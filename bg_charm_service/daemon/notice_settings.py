"""From what a person set about notices to the rules of telling: files are read here, and checked.

Used when a service is made of its settings, and by the check of a start.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from bg_charm_service.daemon.ports import own_ports
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.notice_urls import (
    GivenTarget,
    check_target_url,
    is_this_machine,
    read_given_targets,
)
from bg_charm_service.domain.notices import read_kinds
from bg_charm_service.service.notices.telling import NoticeRules

#: A file of targets is not larger, in bytes.
_MOST_BYTES = 256 * 1024


def notice_rules(settings: Settings, *, is_polling: bool) -> NoticeRules:
    """Give the rules; raises InvalidInput, which repeats nothing secret.

    What only a service that polls needs is left out for others: their user may not be allowed to
    read the files.
    """
    rules = NoticeRules(
        heartbeat_seconds=settings.heartbeat_interval_seconds,
        may_be_local=settings.notify_local,
        gather_seconds=settings.notify_gather_seconds,
        timeout_seconds=settings.notify_timeout_seconds,
        again_seconds=settings.notify_again_seconds,
    )
    if not is_polling:
        return rules
    return replace(rules, targets=_targets(settings), heartbeat=_heartbeat(settings))


def _targets(settings: Settings) -> tuple[GivenTarget, ...]:
    found: list[tuple[str, GivenTarget]] = []
    if settings.notify_file is not None:
        source = f"--notify=@{settings.notify_file}"
        text = _read(settings.notify_file, source)
        found += [(source, one) for one in read_given_targets(text, source)]
    found += [("NOTIFY_URLS", GivenTarget(url)) for url in settings.notify_urls]
    closed = own_ports(settings)
    for source, one in found:
        try:
            check_target_url(one.url, closed, may_be_local=settings.notify_local)
            read_kinds(one.kinds, is_of_space=bool(one.space))
        except (InvalidInput, ValueError) as error:
            raise InvalidInput(f"{source}: {str(error).removeprefix('url: ')}") from None
    return tuple(one for _, one in found)


def _heartbeat(settings: Settings) -> str:
    url = settings.heartbeat
    if not url:
        return ""
    source = "--heartbeat"
    if url.startswith("@"):
        source = f"--heartbeat={url}"
        url = _read(Path(url[1:]), source).strip()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
        scheme = parts.scheme
    except ValueError:
        host, port, scheme = "", 0, ""
    if scheme not in ("http", "https") or not host or not url.isprintable():
        raise InvalidInput(f"{source}: expected an http or https address.")
    if port in own_ports(settings) and is_this_machine(host):
        raise InvalidInput(f"{source}: port {port} leads to this service itself.")
    if not settings.notify_local and is_this_machine(host):
        raise InvalidInput(
            f"{source}: this is an address of this machine. Add --notify-local if it is meant."
        )
    return url


def _read(path: Path, source: str) -> str:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{source}: it cannot be read: {error.strerror}.") from None
    if len(data) > _MOST_BYTES:
        raise InvalidInput(f"{source}: it is too large.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{source}: this is not a text in UTF-8.") from None
