"""Reads lists of charms that others wrote: what an integration listed, what `--charms` names.

An unusable entry is skipped and reported; it never costs the others their place.
Called by the scan process and the command line.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, is_did, space_did
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.scanning.integration import SYSTEM_SPACE

#: The names under which an item may carry its charm's id.
CHARM_ID_NAMES = ("pieceId", "charmId", "piece_id", "charm_id")

#: A list longer than this is cut; the rest is reported.
MAX_LISTED = 100_000

#: Of more problems than this only the number is told.
MAX_PROBLEMS = 20


def parse_manual_charms(entries: Iterable[str]) -> tuple[list[CharmRef], list[str]]:
    """Read the entries of `--charms`, and say why some were skipped.

    A charm may be named by its cause: each scan looks which charm that is then.
    """
    refs: dict[CharmRef, None] = {}
    problems: list[str] = []
    for entry in entries:
        try:
            refs[CharmRef.of_names(entry)] = None
        except InvalidInput as problem:
            problems.append(str(problem))
    return list(refs), problems


def read_listed(items: object) -> tuple[list[CharmRef], list[str]]:
    """Read what `fetch_charms` gave, each charm once, and why items were skipped.

    An item is a mapping or an object with `space` and one of CHARM_ID_NAMES.
    Raises InvalidInput when it is no list at all.
    """
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes, Mapping)):
        raise InvalidInput(f"fetch_charms() must give a list of charms, not {reprlib.repr(items)}.")
    refs: dict[CharmRef, None] = {}
    problems: list[str] = []
    skipped = 0
    for position, item in enumerate(items):
        if position == MAX_LISTED:
            problems.append(f"Only the first {MAX_LISTED} listed charms are used.")
            break
        try:
            refs[_ref(item)] = None
        except Exception as problem:  # an item is foreign code: its attributes may raise anything
            skipped += 1
            if skipped <= MAX_PROBLEMS:
                problems.append(f"Listed item {position}: {problem}")
    if skipped > MAX_PROBLEMS:
        problems.append(f"{skipped - MAX_PROBLEMS} more listed items are invalid.")
    return list(refs), problems


def _ref(item: object) -> CharmRef:
    space = _part(item, "space")
    charm_id = next(filter(None, (_part(item, name) for name in CHARM_ID_NAMES)), None)
    if not isinstance(space, str) or not isinstance(charm_id, str):
        raise InvalidInput(
            f"expected `space` and `charmId` (or `pieceId`), got {reprlib.repr(item)}."
        )
    if space == SYSTEM_SPACE:
        space = space_did(SYSTEM_SPACE_NAME)
    if not is_did(space):
        raise InvalidInput(f"Invalid space ID: {space:.100}. Must be a valid DID.")
    if not is_merkle_id(charm_id):
        raise InvalidInput(f"Invalid charm ID: {charm_id:.100}. Must be a valid merkle ID.")
    return CharmRef(space, charm_id)


def _part(item: object, name: str) -> object:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
