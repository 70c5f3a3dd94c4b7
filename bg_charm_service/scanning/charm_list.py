"""Reads lists of charms that others wrote: what an integration listed, what `--charms` names.

An unusable entry is skipped and reported; it never costs the others their place.
Called by the scan process and the command line.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, is_did, space_did
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.scanning.integration import SYSTEM_SPACE
from bg_charm_service.scanning.protocol import DescribedCharm

#: The names under which an item may carry its charm's id.
CHARM_ID_NAMES = ("pieceId", "charmId", "piece_id", "charm_id")

#: A list longer than this is cut; the rest is reported.
MAX_LISTED = 100_000

#: Of charms that are to be added an integration may describe so many.
MAX_DESCRIBED = 10_000

#: Their sources are no longer than this; nor are their other texts.
LARGEST_SOURCE_CHARACTERS = 2_000_000
LARGEST_TEXT_CHARACTERS = 1_000

#: Of more problems than this only the number is told.
MAX_PROBLEMS = 20


@dataclass(slots=True)
class CharmList:
    """What `fetch_charms` gave: charms by their ids, charms to add, and what was wrong with it."""

    refs: dict[CharmRef, None] = field(default_factory=dict)
    described: dict[tuple[str, str], DescribedCharm] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    spaces: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, item: object) -> None:
        """Take one item in; raises InvalidInput, and whatever an item's own code raises."""
        source = _part(item, "source")
        if source is None:
            self.refs[_ref(item)] = None
            return
        if len(self.described) >= MAX_DESCRIBED:
            raise InvalidInput(f"only {MAX_DESCRIBED:,} charms can be described.")
        space = _text(item, "space")
        space = SYSTEM_SPACE_NAME if space == SYSTEM_SPACE else space
        if space not in self.spaces:
            self.spaces[space] = space_did(space)
        cause = _text(item, "cause")
        if is_merkle_id(cause):
            raise InvalidInput("`cause` of a charm is a text, and no id.")
        text = _text(item, "source", LARGEST_SOURCE_CHARACTERS)
        self.described[space, cause] = DescribedCharm(
            space=space,
            cause=cause,
            file_name=_text(item, "file") if _part(item, "file") else "charm.py",
            source=self.sources.setdefault(text, len(self.sources)),
            values=_values(item),
        )


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


def read_listed(items: object) -> CharmList:
    """Read what `fetch_charms` gave, each charm once, and why items were skipped.

    An item is a mapping or an object with `space` and one of CHARM_ID_NAMES; or with `space`,
    `cause`, `source`, `file` and `set`, which describe a charm that is added if it is not there.
    Raises InvalidInput when it is no list at all.
    """
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes, Mapping)):
        raise InvalidInput(f"fetch_charms() must give a list of charms, not {reprlib.repr(items)}.")
    found = CharmList()
    problems = found.problems
    skipped = 0
    for position, item in enumerate(items):
        if position == MAX_LISTED:
            problems.append(f"Only the first {MAX_LISTED} listed charms are used.")
            break
        try:
            found.take(item)
        except Exception as problem:  # an item is foreign code: its attributes may raise anything
            skipped += 1
            if skipped <= MAX_PROBLEMS:
                problems.append(f"Listed item {position}: {problem}")
    if skipped > MAX_PROBLEMS:
        problems.append(f"{skipped - MAX_PROBLEMS} more listed items are invalid.")
    return found


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


def _text(item: object, name: str, most: int = LARGEST_TEXT_CHARACTERS) -> str:
    text = _part(item, name)
    if not isinstance(text, str) or not text.strip() or len(text) > most:
        raise InvalidInput(f"`{name}` of a charm is a text of up to {most:,} characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"`{name}` of a charm has characters that are none.") from None
    return text


def _values(item: object) -> dict[str, bytes]:
    """The values of fields, as JSON."""
    values = _part(item, "set")
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise InvalidInput(f"`set` has the values of fields, got {reprlib.repr(values)}.")
    return {str(name): json.dumps(one, allow_nan=False).encode() for name, one in values.items()}
