"""Writes more into a collection than is allowed, or what is no item."""

import os
from typing import Any

from tests.hostile.charms.hostile import Hostile, ends

MEGABYTE = 1024 * 1024


@ends("state_size", "may write 1M of items")
def too_much_of_items(charm: Hostile) -> object:
    """More than one run may write, in pieces that are small."""
    for number in range(2048):
        charm.box[f"{number}"] = "x" * 1024
    return 0


@ends("state_size", "one item may be 1M")
def an_item_too_large(charm: Hostile) -> object:
    """One that is too large by itself."""
    charm.box["a"] = "x" * MEGABYTE
    return 0


@ends("state_size", "may touch 20,000 keys")
def too_many_keys(charm: Hostile) -> object:
    """Looks for more keys than one run may."""
    charm.box.add(f"{number}" for number in range(30_000))
    return 0


@ends("success")
def looks_for_ever(charm: Hostile) -> object:
    """Asks very often: each question is answered in its turn."""
    return sum(f"{number}" in charm.box for number in range(2000))


@ends("state", "box['a']")
def an_item_of_another_type(charm: Hostile) -> object:
    """A number in the place of a text."""
    wrong: Any = 5
    charm.box["a"] = wrong
    return 0


@ends("state", "no key")
def a_key_that_is_none(charm: Hostile) -> object:
    """What no database takes for a text."""
    charm.box["\ud800"] = "x"
    return 0


@ends("exit")
def ends_with_unsaid_items(charm: Hostile) -> object:
    """Ends its worker when it has written, and said nothing of it."""
    charm.box.add(["planted"])
    os._exit(3)
