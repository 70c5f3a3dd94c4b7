"""Makes the event of a delivery: its body read by its kind, what the sender says of it, its id.

Pure. What is taken for an id is what each sender gives to tell one delivery from another.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from bg_charm_service.api.hooks.signatures import Headers, secret_headers
from bg_charm_service.domain.events.hooks import HookSchema, Scheme
from bg_charm_service.domain.json_values import check_json

#: A type and an id are no longer, in characters.
_LONGEST_WORD: Final = 300

#: So many headers are kept with an event, and no more characters of each.
_MOST_HEADERS: Final = 50
_LONGEST_HEADER: Final = 1000

#: A form has no more fields.
_MOST_FIELDS: Final = 1000

#: Headers that say where a request came along; no charm's business.
_ON_THE_WAY: Final = ("x-forwarded-", "x-real-ip", "x-envoy-", "x-amzn-trace-id")

#: Headers that are kept; and those that begin with one of these.
_KEPT: Final = frozenset({"content-type", "user-agent", "link"})
_KEPT_BEGINNINGS: Final = ("x-", "webhook-", "ce-")

#: Where a form has its JSON: GitHub and Slack put it there.
_PAYLOAD: Final = "payload"


class Unreadable(Exception):
    """A body that was signed, and is not what it says."""


class Event(msgspec.Struct, frozen=True):
    """What a handler gets; `body` is the JSON that was sent, a form's fields, or a text."""

    type: str
    id: str
    received_at: float
    headers: dict[str, str]
    body: msgspec.Raw


class Delivery(msgspec.Struct, frozen=True):
    """A request, read: the id that counts once, empty for none, and the event as JSON."""

    delivery_id: str
    event: bytes
    body: Any = None


def read_delivery(hook: HookSchema, headers: Headers, body: bytes, now: float) -> Delivery:
    """Read a request that was signed; raises Unreadable."""
    raw = _body_of(headers.get("content-type", ""), body)
    try:
        check_json(raw)
        members = msgspec.json.decode(raw, type=_Members) if raw[:1] == b"{" else _Members()
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    delivery_id = _text(_id_of(hook, headers, members))
    event = Event(
        type=_text(_type_of(hook, headers, members))[:_LONGEST_WORD],
        id=delivery_id[:_LONGEST_WORD],
        received_at=now,
        headers=_kept(hook, headers),
        body=msgspec.Raw(raw),
    )
    return Delivery(delivery_id, msgspec.json.encode(event), members)


class _Members(msgspec.Struct, frozen=True):
    """What is looked at of a body."""

    id: Any = ""
    type: Any = ""
    event_id: Any = ""
    trigger_id: Any = ""
    challenge: Any = ""
    event: Any = None


def challenge_of(hook: HookSchema, delivery: Delivery) -> str | None:
    """What Slack wants to have back before it sends anything; None for anything else."""
    members = delivery.body
    if hook.sign != Scheme.SLACK or not isinstance(members, _Members):
        return None
    if members.type != "url_verification" or not isinstance(members.challenge, str):
        return None
    return members.challenge[:_LONGEST_HEADER]


def _body_of(content_type: str, body: bytes) -> bytes:
    """Give the JSON that stands for a body."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return _form(body)
    if kind.endswith(("/json", "+json")):
        return body or b"null"
    if not kind and _is_object(body):
        return body
    return msgspec.json.encode(body.decode("utf-8", "replace"))


def _is_object(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _form(body: bytes) -> bytes:
    try:
        fields = parse_qs(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:
        raise Unreadable(str(error)) from None
    if fields.keys() == {_PAYLOAD} and len(fields[_PAYLOAD]) == 1:
        return fields[_PAYLOAD][0].encode("utf-8", "replace")
    return msgspec.json.encode(
        {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
    )


def _id_of(hook: HookSchema, headers: Headers, members: _Members) -> Any:
    scheme = Scheme(hook.sign)
    if scheme is Scheme.GITHUB:
        return headers.get("x-github-delivery", "")
    if scheme is Scheme.STANDARD:
        return headers.get("webhook-id", "")
    if scheme is Scheme.SLACK:
        return members.event_id or members.trigger_id
    if scheme is Scheme.STRIPE:
        return members.id
    return headers.get(hook.id_header.lower(), "") if hook.id_header else ""


def _type_of(hook: HookSchema, headers: Headers, members: _Members) -> Any:
    if hook.sign == Scheme.GITHUB:
        return headers.get("x-github-event", "")
    if hook.sign == Scheme.SLACK and isinstance(members.event, dict):
        return members.event.get("type", members.type)
    return members.type


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _kept(hook: HookSchema, headers: Headers) -> dict[str, str]:
    secret = secret_headers(hook)
    kept = {
        name: value[:_LONGEST_HEADER]
        for name, value in headers.items()
        if (name in _KEPT or name.startswith(_KEPT_BEGINNINGS))
        and name not in secret
        and not name.startswith(_ON_THE_WAY)
    }
    return dict(list(kept.items())[:_MOST_HEADERS])
