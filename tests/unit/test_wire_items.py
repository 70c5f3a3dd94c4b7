"""What a run asks of the supervisor when it looks into collections, and what it knows already."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from bg_charm_service import Cell, Charm, Items
from bg_charm_service.domain.items import StoredItem
from bg_charm_service.sdk.charm import CharmContext
from bg_charm_service.workers.protocol.messages import FoundItems, RunSpec, WantItems
from bg_charm_service.workers.runtime.charm_binding import bind
from bg_charm_service.workers.runtime.worker import WireSnapshot
from tests.unit.plain_run import RUN


class Reader(Charm):
    """Has collections, its own and another's."""

    mails: Items[str]
    wanted: Items[str]
    others: Cell[Items[str]] | None = None


class Supervisor:
    """Answers for collections of one item, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[WantItems] = []

    def ask(self, wanted: WantItems) -> FoundItems:
        self.asked.append(wanted)
        item = StoredItem("a", 1, b'"x"')
        items = (item,) if "a" in wanted.keys or (wanted.limit and not wanted.after) else ()
        return FoundItems(wanted.run_id, items, 1, 1, is_end=True)


def charm_of(spec: RunSpec) -> tuple[Any, Supervisor]:
    """Give a charm in a run, and who is asked."""
    supervisor: Any = Supervisor()
    charm = bind(Reader, WireSnapshot(spec, supervisor), CharmContext)
    return charm, supervisor


def test_nothing_is_asked_of_what_is_empty() -> None:
    """How many there are came with the run: one that has none is known from end to end."""
    charm, supervisor = charm_of(replace(RUN, counts={"mails": 1, "wanted": 0}))
    assert (1, 0, False, []) == (
        *(len(charm.mails), len(charm.wanted), bool(charm.wanted), charm.wanted.first(5)),
    )
    charm.wanted.add(["n"])
    assert (["n"], False, None) == (
        *(charm.wanted.first(5), "a" in charm.wanted, charm.wanted.get("b")),
    )
    assert [] == supervisor.asked
    assert ["x", None] == [charm.mails.get("a"), charm.mails.get("b")]
    assert [("a",), ("b",)] == [one.keys for one in supervisor.asked]


def test_what_another_charm_has_is_asked_for() -> None:
    """It may be no collection any more: whoever knows says so."""
    charm, supervisor = charm_of(replace(RUN, links={"others": False}, counts={"mails": 0}))
    assert 1 == len(charm.others.get())
    assert ["others"] == [one.field for one in supervisor.asked]
