"""Leaves a state that nobody can store, or that is to hurt whoever reads it."""

import base64
import math
import os
import pickle
import threading
from typing import Any

from tests.hostile.charms.hostile import Hostile, ends

MEGABYTE = 1024 * 1024


class Bomb:
    """What is done when a pickle of it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/planted-by-a-pickle",)


@ends("state_size", "may leave 1M")
def too_large(charm: Hostile) -> object:
    """More than is allowed."""
    return "x" * 2 * MEGABYTE


@ends("state_size", "may leave 1M")
def large_in_many_pieces(charm: Hostile) -> object:
    """The same in small values."""
    return ["x" * 1024] * 2048


@ends("state_size", "may leave 1M")
def far_too_large(charm: Hostile) -> object:
    """More than a message can hold."""
    return ["x" * MEGABYTE] * 20


@ends("state", "depth exceeded")
def nested_lists(charm: Hostile) -> object:
    """Lists in lists, deeper than any reader goes."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@ends("state", "depth exceeded")
def nested_objects(charm: Hostile) -> object:
    """The same with names."""
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"deeper": value}
    return value


@ends("state", "depth exceeded")
def nested_a_little(charm: Hostile) -> object:
    """Deep enough for a browser or a parser of another language."""
    value: list[Any] = []
    for _ in range(900):
        value = [value]
    return value


@ends("state", "loot")
def nested_in_itself(charm: Hostile) -> object:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


@ends("state", "loot")
def not_a_number(charm: Hostile) -> object:
    """What JSON has no word for."""
    return {"deep": [math.nan]}


@ends("state", "loot")
def infinite(charm: Hostile) -> object:
    """The same, larger."""
    return math.inf


@ends("state", "loot")
def half_a_character(charm: Hostile) -> object:
    """A text that is none."""
    return "\ud800"


@ends("success")
def bytes_of_a_pickle(charm: Hostile) -> object:
    """A program that waits for somebody to read it: bytes are kept as text."""
    return pickle.dumps(Bomb())


@ends("success")
def text_of_a_pickle(charm: Hostile) -> object:
    """The same as a text: it is stored as the text that it is, and nobody reads it as more."""
    return base64.b64encode(pickle.dumps(Bomb())).decode()


@ends("state", "loot")
def an_object(charm: Hostile) -> object:
    """A thing that is no data."""
    return Bomb()


@ends("state", "loot")
def a_lock(charm: Hostile) -> object:
    """A thing that cannot be data."""
    return threading.Lock()


@ends("state", "loot")
def endless_number(charm: Hostile) -> object:
    """A number with more digits than are read."""
    return 10**5000


@ends("state", "target")
def another_type(charm: Hostile) -> object:
    """A number in the place of a text."""
    charm.target = 5  # type: ignore[assignment]
    return 0


@ends("error", "no field")
def another_field(charm: Hostile) -> object:
    """A field that its class has not."""
    charm.planted = 1  # type: ignore[attr-defined]
    return 0


@ends("success")
def the_name_of_a_link(charm: Hostile) -> object:
    """Data that look like a link to another space's state."""
    return {"$link": {"path": "/", "ref": charm.target["stranger"], "$alias": True}}
