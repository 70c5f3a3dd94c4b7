"""The application of the listener of hooks: it knows one path, and answers nothing else.

What is over the limits is refused before its body is read. An address that leads nowhere and a
wrong signature are answered alike, and at the same time after the request has come. What is
answered with 202 is on disk. Nothing that was sent, and no address, is in the log.
"""

from __future__ import annotations

import asyncio
import secrets
from urllib.parse import parse_qs

from loguru import logger
from starlette.types import Message, Receive, Scope, Send

from bg_charm_service.api.hooks.deliveries import (
    Unreadable,
    challenge_of,
    read_delivery,
)
from bg_charm_service.api.hooks.signatures import Headers, is_signed
from bg_charm_service.api.rates import Rates
from bg_charm_service.domain.errors import ServiceStopping, StorageError
from bg_charm_service.domain.events.hooks import ADDRESS, HOOK_PATH, HookSchema, Scheme
from bg_charm_service.service.hooks.intake import FullError, HookIntake, OpenHook
from bg_charm_service.service.metrics.hook_counts import HookCounts

#: A body is not larger, in bytes.
MOST_BODY_BYTES = 1024 * 1024

#: All bodies that are being read are not larger together, in bytes.
MOST_BODIES_BYTES = 32 * 1024 * 1024

#: What leads nowhere is answered so long after its request has come, in seconds: whatever was
#: looked up and computed is over by then.
REFUSED_AFTER_SECONDS = 0.05

#: A body that comes so much later than its head, in seconds, is what that time counts from: what
#: was looked up for the head was over long before.
_LATE_BODY_SECONDS = REFUSED_AFTER_SECONDS / 2

#: How often it is told that requests are refused, in seconds.
TELL_SECONDS = 60.0

#: All addresses that lead nowhere count as one.
_NOWHERE = 0

#: A name of a topic, or a challenge of a hub, is no longer, in characters.
_LONGEST_WORD = 4000


#: A status, a text, and headers.
Answer = tuple[int, str, list[tuple[bytes, bytes]]]


class HookListener:
    """An ASGI application over the intake of hooks."""

    def __init__(self, intake: HookIntake, counts: HookCounts) -> None:
        self._intake = intake
        self._counts = counts
        self._rates = Rates()
        self._held_bytes = 0
        #: What is computed for an address that leads nowhere.
        self._decoy = HookSchema(Scheme.GITHUB, "")
        self._decoy_secret = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, text, headers = await self._answer(scope, receive)
        self._counts.by_status[status] += 1
        head = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
        body = text.encode()
        head.append((b"content-length", b"%d" % len(body)))
        if status >= 400:
            # What is refused holds no connection.
            head.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        came_at = self._now()
        method, path = scope["method"], scope["path"]
        address = path.removeprefix(HOOK_PATH) if path.startswith(HOOK_PATH) else ""
        try:
            self._intake.check_open()
            hook = self._intake.at(address) if ADDRESS.fullmatch(address) else None
            key = hook.record.hook_key if hook is not None else _NOWHERE
            if not self._rates.admits(key, self._intake.clock_steady):
                return _too_many(1)
            if method == "GET":
                return await self._verify_hub(hook, scope, came_at)
            if method != "POST":
                return await self._nowhere(came_at)
            if hook is not None and self._intake.is_full(hook):
                return _too_many(30)
            return await self._receive(hook, scope, receive, came_at)
        except FullError:
            return _too_many(30)
        except (ServiceStopping, StorageError):
            return 503, "Try again later.\n", [(b"retry-after", b"30")]

    async def _receive(
        self, hook: OpenHook | None, scope: Scope, receive: Receive, came_at: float
    ) -> Answer:
        headers = _headers_of(scope)
        announced = headers.get("content-length", "0")
        if not announced.isdigit() or int(announced[:12]) > MOST_BODY_BYTES:
            return 413, "A body has up to 1 MB.\n", []
        body = await self._body(receive)
        if body is None:
            return 413, "A body has up to 1 MB.\n", []
        body_came_at = self._now()
        if body_came_at - came_at >= _LATE_BODY_SECONDS:
            came_at = body_came_at
        return await self._deliver(hook, headers, body, came_at)

    async def _deliver(
        self, hook: OpenHook | None, headers: Headers, body: bytes, came_at: float
    ) -> Answer:
        if hook is None:
            is_signed(self._decoy, (self._decoy_secret,), headers, body, self._intake.clock_now)
            return await self._nowhere(came_at)
        hook = self._intake.with_secrets(hook)
        now = self._intake.clock_now
        if not is_signed(hook.schema, hook.secrets, headers, body, now):
            return await self._nowhere(came_at)
        if hook.schema.is_poke:
            self._intake.poke(hook)
            return 202, "", []
        try:
            delivery = read_delivery(hook.schema, headers, body, now)
        except Unreadable as error:
            return 422, f"The body cannot be read: {error}.\n", []
        challenge = challenge_of(hook.schema, delivery)
        if challenge is not None:
            return 200, challenge, []
        self._intake.take(hook, delivery.delivery_id, delivery.event)
        return 202, "", []

    async def _verify_hub(self, hook: OpenHook | None, scope: Scope, came_at: float) -> Answer:
        """Answer a hub that asks whether its subscription was asked for (WebSub, 5.3)."""
        asked = _query_of(scope)
        is_wanted = (
            hook is not None
            and hook.schema.sign == Scheme.WEBSUB
            and asked.get("hub.mode") == "subscribe"
            and bool(asked.get("hub.challenge"))
            and self._intake.was_asked_for(hook, asked.get("hub.topic", ""))
        )
        if hook is None or not is_wanted:
            return await self._nowhere(came_at)
        seconds = asked.get("hub.lease_seconds", "")
        if seconds.isascii() and seconds.isdigit():
            self._intake.lease(hook, float(seconds[:12]))
        return 200, asked["hub.challenge"], [(b"x-content-type-options", b"nosniff")]

    async def _nowhere(self, came_at: float) -> Answer:
        """Answer what leads nowhere, so long after it has come."""
        await asyncio.sleep(max(0.0, came_at + REFUSED_AFTER_SECONDS - self._now()))
        return 404, "", []

    async def _body(self, receive: Receive) -> bytes | None:
        """Read a body; None for one that is too large. Raises ServiceStopping where many are."""
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message: Message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                size += len(part)
                self._held_bytes += len(part)
                if size > MOST_BODY_BYTES:
                    return None
                if self._held_bytes > MOST_BODIES_BYTES:
                    raise ServiceStopping("Too many bodies are being read.")
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
        finally:
            self._held_bytes -= size

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def tell(self) -> None:
        """Tell the log what was taken and refused since it was told last, if anything was."""
        news = self._counts.news()
        if not news:
            return
        words = ", ".join(f"{count} with {status}" for status, count in sorted(news.items()))
        logger.bind(event="hooks", **{f"status_{one}": n for one, n in news.items()}).info(
            "Requests from outside were answered: {}", words
        )


def _too_many(seconds: int) -> Answer:
    return 429, "Too many; try again later.\n", [(b"retry-after", b"%d" % seconds)]


def _headers_of(scope: Scope) -> dict[str, str]:
    """Headers by name in lower case; one that stands there twice has both values."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _query_of(scope: Scope) -> dict[str, str]:
    try:
        query = scope["query_string"].decode("ascii")
        parsed = parse_qs(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return {}
    return {name: values[0] for name, values in parsed.items() if len(values[0]) <= _LONGEST_WORD}
