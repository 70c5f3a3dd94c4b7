"""Finds charms by what people call them: a space and an id, or the cause a charm was added for.

Reads the store, and decides nothing. Used by commands, links and scans.
"""

from __future__ import annotations

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmRecord

#: Of a text without an id, at most so many beginnings are tried as the space's name: each takes a
#: signature.
_MOST_PARTS_OF_A_SPACE = 4


def find_named(store: Store, ref: CharmRef) -> CharmRecord | None:
    """Find a charm by the DID of its space, and its id or cause."""
    if is_merkle_id(ref.charm_id):
        return store.charms.find(ref)
    space = store.spaces.find(ref.space)
    return store.charms.find_by_cause(space.space_key, ref.charm_id) if space else None


def find_linked(store: Store, text: str) -> tuple[CharmRecord, tuple[str, ...]] | None:
    """Find the charm of `SPACE/CHARM[/path]`, and give the path below it.

    A space's name may hold slashes, and a cause looks like any text, so that it is the store that
    knows where the charm ends. Raises InvalidInput for what has not that form, and for what names
    several charms.
    """
    parts = text.split("/")
    if len(parts) < 2 or not all(parts):
        raise InvalidInput(f"Not a link: {text!r}. Expected format: SPACE/CHARM[/path].")
    with_id = next((at for at in range(1, len(parts)) if is_merkle_id(parts[at])), None)
    ends = range(1, min(len(parts), _MOST_PARTS_OF_A_SPACE + 1))
    if with_id is not None:
        ends = range(with_id, with_id + 1)
    elif parts[0].startswith("did:"):
        ends = range(1, 2)
    found = []
    for at in ends:
        charm = find_named(store, CharmRef(space_did("/".join(parts[:at])), parts[at]))
        if charm is not None:
            found.append((charm, tuple(parts[at + 1 :])))
    if len(found) > 1:
        refs = " and ".join(str(charm.ref) for charm, _ in found)
        raise InvalidInput(f"{text} names several charms: {refs}. Give the id of the one meant.")
    return found[0] if found else None
