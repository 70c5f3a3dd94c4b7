"""Links of a charm during a run: the linked values it reads and writes, the events it sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from bg_charm_service import Cell, Charm, CharmContext, Stream
from bg_charm_service.domain.errors import StateError
from bg_charm_service.domain.model import Send
from bg_charm_service.workers.runtime.charm_binding import (
    Changes,
    LinkInfo,
    MemorySnapshot,
    bind,
    changes,
)

#: A list that holds itself.
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


class Auth(BaseModel):
    """What a linked cell holds, as far as Linked knows it."""

    token: str
    expires: int = 0


class Linked(Charm):
    """Has links."""

    auth: Cell[Auth]
    archive: Cell[list[int]] | None = None
    out: Stream
    log: Stream | None = None
    plain: int = 0

    def bg_updater(self, event: Any) -> None:
        """Do nothing."""


def linked(value: object = None, **links: bool) -> Linked:
    """Bind the charm with links; `auth` leads to a writable cell unless said otherwise."""
    value = {"token": "t", "expires": 1} if value is None else value
    infos = {
        name: LinkInfo(writable=writable) for name, writable in ({"auth": True} | links).items()
    }
    snapshot = MemorySnapshot({"auth": json.dumps(value).encode()}, infos)
    charm = bind(Linked, snapshot, CharmContext())
    assert isinstance(charm, Linked)
    return charm


def test_linked_cell_reads_and_writes_the_linked_value() -> None:
    """A write through a link goes under the field's name."""
    charm = linked()
    charm.auth.update({"token": "new"})

    assert changes(charm) == Changes(
        reads=("auth",), writes={"auth": b'{"token":"new","expires":1}'}
    )


def test_linked_value_changed_in_place_is_written() -> None:
    """Changing what get() gave counts as writing it."""
    charm = linked()
    charm.auth.get().expires = 5

    assert changes(charm).writes == {"auth": b'{"token":"t","expires":5}'}


def test_unread_link_is_neither_read_nor_written() -> None:
    """Touching the link without its value loads nothing."""
    charm = linked()
    charm.auth  # noqa: B018

    assert changes(charm) == Changes()


def test_link_keeps_what_its_type_does_not_know() -> None:
    """Members of a shared cell that this charm's type lacks survive a write."""
    charm = linked({"token": "t", "refreshToken": "r", "user": {"name": "n"}})
    charm.auth.update({"token": "new"})

    assert json.loads(changes(charm).writes["auth"]) == {
        "token": "new",
        "expires": 0,
        "refreshToken": "r",
        "user": {"name": "n"},
    }


def test_reading_a_link_with_unknown_members_writes_nothing() -> None:
    """A linked value that knows more than this charm's type is left alone."""
    charm = linked({"token": "t", "refreshToken": "r"})
    assert charm.auth.get().token == "t"

    assert changes(charm).writes == {}


def test_read_only_link_refuses_writes() -> None:
    """A link without the right to write refuses set at once, and changes in place at the end."""
    charm = linked({"token": "t", "expires": 1, "more": 1}, auth=False)
    assert charm.auth.get().token == "t"
    assert changes(charm).writes == {}
    with pytest.raises(StateError, match="auth: this link may only be read"):
        charm.auth.set(Auth(token="x"))
    charm.auth.get().token = "x"
    with pytest.raises(StateError, match="auth: changed, but this link may only be read"):
        changes(charm)


def test_unlinked_fields_say_how_to_link() -> None:
    """A link that must be there and is not names the flag that sets it."""
    charm = bind(Linked, MemorySnapshot(), CharmContext())
    assert isinstance(charm, Linked)

    with pytest.raises(StateError, match="auth: not linked; set it with --link auth=SPACE/CHARM/"):
        charm.auth.get()
    with pytest.raises(StateError, match="out: not linked; set it with --link out=SPACE/CHARM/st"):
        charm.out.send({})
    assert (charm.archive, charm.log) == (None, None)
    assert changes(charm) == Changes()


def test_linked_value_of_the_wrong_type_names_the_link() -> None:
    """A linked value that does not fit is a StateError naming the field."""
    with pytest.raises(StateError, match=r"auth\.token: Field required"):
        linked({"tokens": []}).auth.get()


def test_sends_keep_their_order() -> None:
    """Events sent through several links come out in the order in which they were sent."""
    charm = linked(out=True, log=True)
    assert charm.log is not None
    charm.out.send({"n": 1})
    charm.log.send("two")
    charm.out.send({})

    assert changes(charm).sends == (
        Send("out", b'{"n":1}'),
        Send("log", b'"two"'),
        Send("out", b"{}"),
    )


def test_sent_event_is_taken_as_it_was() -> None:
    """Changing an event after it was sent does not change what was sent."""
    charm = linked(out=True)
    event = {"n": 1}
    charm.out.send(event)
    event["n"] = 2

    assert changes(charm).sends == (Send("out", b'{"n":1}'),)


@pytest.mark.parametrize("event", [float("nan"), {"a": object()}, ENDLESS])
def test_event_must_be_json(event: object) -> None:
    """An event that is not JSON is refused where it is sent."""
    charm = linked(out=True)

    with pytest.raises(StateError, match=r"out(\.a)?: cannot be stored as JSON"):
        charm.out.send(event)
    assert changes(charm).sends == ()
