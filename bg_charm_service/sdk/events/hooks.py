"""`@hook`: has a stream reached from outside, by senders that can prove who they are.

Marks a handler; what its marks say is read when the class is described, never for a run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

from bg_charm_service.domain.errors import StateError
from bg_charm_service.domain.events.hooks import HookSchema, check_hook
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.sdk.fields import CharmField

Handler = TypeVar("Handler", bound=Callable[..., Any])

Sign = Literal["github", "slack", "stripe", "standard-webhooks", "hmac", "token", "websub"]

# A key in a function's own dict that no attribute of an author's can collide with.
_HOOK: Final = "$hook"


def hook(
    *,
    sign: Sign,
    secret: str,
    poke: bool = False,
    header: str = "",
    id_header: str = "",
    topic: str = "",
) -> Callable[[Handler], Handler]:
    """Give a stream an address of its own, `/hook/…`, for a sender that signs what it sends.

        class Builds(Charm):
            github_secret: Secret[str]

            @hook(sign="github", secret="github_secret")
            def pushed(self, event: dict[str, Any]) -> None:
                self.branch = event["body"]["ref"]

    `secret` names a `Secret` field with what is shared with the sender; while that is empty,
    nothing is taken. The event has the `body` (JSON, the fields of a form, or text), `headers`, the
    `type` and the `id` that the sender gives, and when it came, `received_at`.

    With `poke` nothing of it is kept: the charm is polled, once for any number of them. `header` is
    where hmac has the signature (`X-Signature-256`) and token the token (`Authorization`),
    `id_header` where they have the id of a delivery: each id counts once a day. `topic` names the
    field with the address that a WebSub hub was asked for.

    The operator says where hooks are taken (`--hook-listen`); `self.hook_url("pushed")` is the
    address. Raises ValueError for what cannot be.
    """
    described = HookSchema(sign, secret, poke, header, id_header, topic)
    check_hook(described)

    def mark(handler: Handler) -> Handler:
        if not inspect.isfunction(handler):
            raise TypeError("hook stands before a handler, def name(self, event)")
        handler.__dict__[_HOOK] = described
        return handler

    return mark


def read_hooks(
    cls: type, streams: Mapping[str, str], fields: Mapping[str, CharmField], updater: str | None
) -> dict[str, HookSchema]:
    """Give the hooks of a class, by stream; raises StateError where one names no proper field.

    `streams` names the method of each, `updater` is the stream that polls use.
    """
    found = {}
    for stream, method in streams.items():
        marked = getattr(inspect.getattr_static(cls, method), "__dict__", {}).get(_HOOK)
        if marked is None:
            continue
        secret = fields.get(marked.secret)
        if secret is None or secret.kind is not FieldKind.SECRET:
            raise StateError(
                f"{cls.__name__}.{method}: hook(secret={marked.secret!r:.60}) has to name a field "
                f"of the type Secret[str]"
            )
        topic = fields.get(marked.topic) if marked.topic else None
        if marked.topic and (topic is None or topic.kind is not FieldKind.VALUE):
            raise StateError(
                f"{cls.__name__}.{method}: hook(topic={marked.topic!r:.60}) has to name a field"
            )
        if marked.is_poke and stream != updater:
            raise StateError(
                f"{cls.__name__}.{method}: hook(poke=True) has its charm polled: it stands before "
                "the handler that polls use"
            )
        found[stream] = marked
    return found
