"""Keeps events with secrets encrypted, from where they come in until a run is given them.

Whether one has any is said by the type of its handler, which its charm's schema keeps. It is then
encrypted as a whole, bound to its charm and stream, wherever it is stored: in the queue, as a
dead letter, as a reminder, in backups. Used by whoever puts events in, and by what runs are given.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgspec

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.events.secret_paths import (
    WHOLE,
    SecretPath,
    covered_event,
)
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmRecord

#: What an encrypted event begins with; no JSON does.
_SEALED: Final = b"sealed:"


class EventSeals:
    """Seals events and opens them, with the key of the store."""

    def __init__(self, store: Store) -> None:
        self._secrets = store.secrets

    def kept(self, charm: CharmRecord, stream: str, event: bytes) -> bytes:
        """Give an event as it is stored; `event` is JSON."""
        known = charm.schema.events.get(stream)
        if known is None or not known.secrets:
            return event
        sealed = self._secrets.encrypt(event, _place(charm.ref, stream))
        return _SEALED + base64.b64encode(sealed)

    def opened(self, ref: CharmRef, stream: str, kept: bytes) -> bytes:
        """Give the JSON of a stored event; raises InvalidInput for one that was altered."""
        if not is_sealed(kept):
            return kept
        try:
            sealed = base64.b64decode(kept[len(_SEALED) :], validate=True)
        except ValueError:
            raise InvalidInput("An event does not decrypt: its text was altered.") from None
        return self._secrets.decrypt(sealed, _place(ref, stream))

    def shown(self, charm: CharmRecord, stream: str, kept: bytes) -> bytes:
        """Give a stored event as people may see it, without its secrets.

        Raises InvalidInput for one that was altered.
        """
        opened = self.opened(charm.ref, stream, kept)
        return covered_event(opened, secret_paths_of(charm, stream, kept))


def is_sealed(kept: bytes) -> bool:
    """Whether a stored event is encrypted."""
    return kept.startswith(_SEALED)


def secret_paths_of(charm: CharmRecord, stream: str, kept: bytes) -> Sequence[SecretPath]:
    """Say where the secrets of a stored event stand.

    All of one that was encrypted for a type which its charm does not have any more.
    """
    known = charm.schema.events.get(stream)
    if known is not None and known.secrets:
        return known.secrets
    return WHOLE if is_sealed(kept) else ()


def _place(ref: CharmRef, stream: str) -> str:
    """Name where an event belongs, as no cell is named."""
    return msgspec.json.encode([ref.space, ref.charm_id, "event", stream]).decode()
