"""Collections in a running service: what runs read and write of them, and when a run is stale."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.process.running import CHARMS, Refused, RunningCharm, Service

LETTERS = """
from pydantic import BaseModel, Field
from bg_charm_service import Charm, Items

class Letter(BaseModel):
    id: int
    sent: str = Field(default="", title="Sent")
    sender: str = Field(title="From")
    subject: str = Field(default="", title="About")
    text: str = ""
    tags: list[str] = Field(default_factory=list, title="Tags")

class Letters(Charm):
    letters: Items[Letter]
    wanted: Items[str]
    progress: str = ""
    def bg_updater(self, event: dict) -> None: ...
"""

COLLECTED = (CHARMS / "collected.py").read_text()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-retries=0", "--max-concurrent=3", "--run-log=1K")
    with Service(tmp_path_factory.mktemp("collections") / "data", *flags) as running:
        yield running


@pytest.fixture
def charm(service: Service) -> RunningCharm:
    """A charm with collections that are empty."""
    return service.add(COLLECTED)


def seen(charm: RunningCharm, *deeds: Any, **event: Any) -> list[Any]:
    """Have a charm do something with its collections; gives what it saw."""
    run = charm.perform(do=list(deeds), **event)
    assert "success" == run["status"], run
    found: list[Any] = charm.get("seen")
    return found


def test_items_are_kept(charm: RunningCharm) -> None:
    """What a run writes is there for the next one, in order, and what it removes is not."""
    ada, bob = {"name": "Ada", "tags": []}, {"name": "Bob", "tags": ["x"]}
    seen(charm, ("put", "people", {"b": bob, "a": ada, "ä": ada}))
    looked = [("get", "people", "b"), ("get", "people", "c"), ("in", "people", "a")]
    assert [bob, None, True] == seen(charm, *looked)
    assert [3, ["a", "b"]] == seen(charm, ("len", "people"), ("first", "people", 2))
    assert [[["a", "b"], ["ä"]]] == seen(charm, ("pages", "people", 2))
    assert [None, None, 2] == seen(
        charm, ("del", "people", "b"), ("remove", "people", ["x"]), ("len", "people")
    )
    assert [[["a", "ä"]]] == seen(charm, ("pages", "people", 5))


def test_failed_run_writes_no_items(charm: RunningCharm) -> None:
    """What a failed run wrote to a collection did not happen."""
    seen(charm, ("add", "wanted", ["a"]))
    failed = charm.perform(do=[("add", "wanted", ["b"]), ("remove", "wanted", ["a"])], fail=True)
    assert "failure" == failed["status"]
    assert [["a"]] == seen(charm, ("first", "wanted", 10))


def test_changes_in_place_are_written(charm: RunningCharm) -> None:
    """An item that is changed in place counts as written, by itself and page by page."""
    people = {str(number): {"name": str(number)} for number in range(5)}
    seen(charm, ("put", "people", people), ("tag", "people", ("1", "new")))
    seen(charm, ("tag", "people", ("2", "later")))
    seen(charm, ("tag all", "people", "all"))
    tags = [seen(charm, ("get", "people", key))[0]["tags"] for key in ("0", "1", "2")]
    assert [["all"], ["new", "all"], ["later", "all"]] == tags


def test_more_looks_than_the_log_has_bytes(charm: RunningCharm) -> None:
    """A run may look into its collections as often as it has time for."""
    keys = [f"{number:05}" for number in range(3000)]
    seen(charm, ("add", "wanted", keys))
    assert [True] * 3000 == seen(charm, *(("in", "wanted", key) for key in keys))


def link(
    service: Service, to: RunningCharm, *, space: str = "test", writable: bool = False
) -> RunningCharm:
    """Add a charm that links to the to-do list of another."""
    links = {"others": f"{to.ref}/wanted"}
    return service.add(COLLECTED, space=space, **{"writable_links" if writable else "links": links})


def test_a_list_is_fed_through_a_link(service: Service, charm: RunningCharm) -> None:
    """A charm adds to another's collection, and removes from it, in the settlement of its run."""
    feeder = link(service, charm)
    seen(feeder, ("add", "others", ["b", "a"]), ("remove", "others", ["x"]))
    assert [["a", "b"]] == seen(charm, ("first", "wanted", 5))
    seen(charm, ("remove", "wanted", ["a"]))
    assert [False, ["b"]] == seen(feeder, ("in", "others", "a"), ("first", "others", 5))


def test_a_collection_elsewhere_is_only_read(service: Service, charm: RunningCharm) -> None:
    """Into another space a link to a collection is for reading, unless it was made writable."""
    seen(charm, ("add", "wanted", ["a"]))
    reader = link(service, charm, space="elsewhere")
    assert [["a"]] == seen(reader, ("first", "others", 5))
    failed = reader.perform(do=[("add", "others", ["b"])])
    assert ("failure", "state") == (failed["status"], failed["cause"])
    assert "only be read" in failed["error"]
    writer = link(service, charm, space="further", writable=True)
    seen(writer, ("add", "others", ["b"]))
    assert [["a", "b"]] == seen(charm, ("first", "wanted", 5))


MOVED = {
    "the key that it read": (("get", "wanted", "a"), ("put", "others", {"a": "new"})),
    "a key that it removed": (("remove", "wanted", ["a"]), ("put", "others", {"a": "new"})),
    "a key that was not there": (("in", "wanted", "c"), ("add", "others", ["c"])),
    "the length": (("len", "wanted"), ("add", "others", ["c"])),
    "the first keys": (("first", "wanted", 1), ("add", "others", ["0"])),
    "one of the first keys": (("first", "wanted", 1), ("remove", "others", ["a"])),
    "an item of a page": (("pages", "wanted", 1), ("put", "others", {"b": "new"})),
    "the end": (("pages", "wanted", 1), ("add", "others", ["c"])),
    "whether there is any": (("any", "wanted"), ("remove", "others", ["a"])),
}

UNMOVED = {
    "another key": (("get", "wanted", "a"), ("put", "others", {"b": "new"})),
    "what it never looked at": (("room", "wanted"), ("add", "others", ["c"])),
    "a key behind the first ones": (("first", "wanted", 1), ("add", "others", ["c"])),
    "a value, where it saw the length": (("len", "wanted"), ("put", "others", {"b": "new"})),
    "more, where it saw that there is any": (("any", "wanted"), ("add", "others", ["c"])),
}


@pytest.mark.parametrize(
    ("looked", "changed", "is_stale"),
    [(*deeds, True) for deeds in MOVED.values()] + [(*deeds, False) for deeds in UNMOVED.values()],
    ids=[*MOVED, *UNMOVED],
)
def test_a_run_is_stale_when_what_it_saw_moved(
    service: Service, charm: RunningCharm, looked: Any, changed: Any, is_stale: object
) -> None:
    """Another's write makes a run stale if it moved what the run saw, and not otherwise."""
    seen(charm, ("put", "wanted", {"a": "", "b": ""}))
    feeder = link(service, charm)
    gate = service.gate()
    job = charm.send(do=[looked, ("put", "people", {"x": {"name": "X"}})], wait=str(gate.folder))
    gate.wait_for_run()
    seen(feeder, changed)
    gate.let_go(2)
    charm.wait_until_settled(job)
    statuses = [run["status"] for run in charm.runs() if run["job_id"] == job]
    assert (["success", "stale"] if is_stale else ["success"]) == statuses


def test_a_second_look_that_differs_is_stale(service: Service, charm: RunningCharm) -> None:
    """A run that saw two lengths of one collection saw something that never was: it is stale."""
    seen(charm, ("add", "wanted", ["a"]))
    feeder = link(service, charm)
    gate = service.gate()
    job = charm.send(
        do=[("first", "wanted", 5)], wait=str(gate.folder), then=[("first", "wanted", 9)]
    )
    gate.wait_for_run()
    seen(feeder, ("add", "others", ["0"]))
    gate.let_go(2)
    charm.wait_until_settled(job)
    assert "stale" in [run["status"] for run in charm.runs() if run["job_id"] == job]
    assert [["0", "a"], ["0", "a"]] == charm.get("seen")


def test_a_run_that_is_stale_again_and_again_gets_its_turn(
    service: Service, charm: RunningCharm
) -> None:
    """After five stale runs in a row, who writes what it reads waits until it is through."""
    feeder, other = link(service, charm), service.add(COLLECTED)
    gate = service.gate()
    job = charm.send(do=[("first", "wanted", 9)], wait=str(gate.folder))
    for number in range(5):
        gate.wait_for_run()
        seen(feeder, ("add", "others", [str(number)]))
        gate.let_go()
    gate.wait_for_run()
    held = feeder.send(do=[("add", "others", ["late"])])
    # Somebody else runs: what is held was passed over.
    seen(other, ("len", "wanted"))
    assert held not in {run["job_id"] for run in feeder.runs()}
    gate.let_go()
    charm.wait_until_settled(job)
    feeder.wait_until_settled(held)
    assert ["success", *["stale"] * 5] == [
        run["status"] for run in charm.runs() if run["job_id"] == job
    ]
    assert [["0", "1", "2", "3", "4"]] == charm.get("seen")
    assert [["0", "1", "2", "3", "4", "late"]] == seen(charm, ("first", "wanted", 9))


def test_two_runs_that_look_at_what_the_other_writes(service: Service) -> None:
    """Of two runs that each write where the other looks, one sees what the other wrote: no skew."""
    left, right = service.add(COLLECTED), service.add(COLLECTED)
    links = {"others": f"{left.ref}/wanted", "third": f"{right.ref}/wanted"}
    first, second = (service.add(COLLECTED, links=links) for _ in range(2))
    gate = service.gate()
    job = first.send(do=[("claim", "others", ("third", "mine"))], wait=str(gate.folder))
    gate.wait_for_run()
    seen(second, ("claim", "third", ("others", "yours")))
    gate.let_go(2)
    first.wait_until_settled(job)
    assert [["yours"]] == seen(left, ("first", "wanted", 5))
    assert [[]] == seen(right, ("first", "wanted", 5))


def test_what_is_no_collection_is_not_linked(service: Service, charm: RunningCharm) -> None:
    """A link to a collection leads to one, and no other link does: else it is refused."""
    with pytest.raises(Exception, match="declared as Cell"):
        service.add(COLLECTED, links={"others": f"{charm.ref}/seen"})
    linked = (CHARMS / "linked.py").read_text()
    with pytest.raises(Exception, match="declared as Cell"):
        service.add(linked, links={"words": f"{charm.ref}/wanted"})


def asked(charm: RunningCharm, method: str, path: str, body: Any = None, **query: Any) -> Any:
    """Send a request about a collection; gives the answer."""
    address = f"{charm.path}/{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
    return charm.service.request(method, address, body)


def test_a_collection_is_shown_in_pages(service: Service, charm: RunningCharm) -> None:
    """Its size stands with the state, its items are given page by page, and found by a text."""
    people = {f"{number:02}": {"name": f"Person {number}"} for number in range(25)}
    seen(charm, ("put", "people", people))
    assert 25 == charm.get("people")["$items"] == asked(charm, "GET", "state")["people"]["$items"]
    keys: list[str] = []
    more: str | None = ""
    while more is not None:
        page = asked(charm, "GET", "items/people", after=more, limit=10)
        keys, more = keys + [item["key"] for item in page["items"]], page["next"]
    assert sorted(people) == keys
    found = asked(charm, "GET", "items/people", text="PERSON 7")
    assert [{"key": "07", "value": {"name": "Person 7", "tags": []}}] == found["items"]
    assert "Person 7" == asked(charm, "GET", "item/people", key="07")["name"]
    with pytest.raises(Refused, match="has no item '7'"):
        asked(charm, "GET", "item/people", key="7")
    with pytest.raises(Refused, match="has no collection seen; it has wanted, people"):
        asked(charm, "GET", "items/seen")


def test_pages_of_a_collection(service: Service, charm: RunningCharm) -> None:
    """The charm's page leads to a table of its items, which goes on and finds."""
    keys = [f"key {number:03} <b>" for number in range(60)]
    seen(charm, ("add", "wanted", keys))
    assert "60 items" in service.page(f"/charms/{charm.ref}")
    first = service.page(f"/charms/{charm.ref}/items/wanted")
    assert "key 049 &lt;b&gt;" in first
    assert "key 050" not in first
    link = re.search(r'href="\?(after=[^"]*)"', first)
    assert link is not None
    second = service.page(f"/charms/{charm.ref}/items/wanted?{unescape(link[1])}")
    assert "key 050 &lt;b&gt;" in second
    assert "key 059" in second
    found = service.page(f"/charms/{charm.ref}/items/wanted?text=key+033")
    assert ("key 033" in found, "key 034" in found) == (True, False)


def test_items_are_a_table_to_search_and_filter(service: Service) -> None:
    """Its columns are the members with a title; each can be looked in, and each item opened."""
    charm = service.add(LETTERS)
    letters = {
        f"{day:02}": {
            "id": day,
            "sent": f"2026-11-{day:02}T08:30:00Z",
            "sender": "Ada <ada@x>" if day % 2 else "Bob",
            "subject": f"Letter {day} <b>",
            "text": "a secret garden" if day == 7 else "none",
            "tags": ["new", "long"] if day == 9 else [],
        }
        for day in range(1, 29)
    }
    asked(charm, "PUT", "items/letters", {"items": letters})
    charm.set("progress", "28 of about 100")
    own = service.page(f"/charms/{charm.ref}")
    assert "28 of about 100" in own
    assert "Letter 10 &lt;b&gt;" in own
    assert "Letter 11" not in own
    page = f"/charms/{charm.ref}/items/letters"
    table = service.page(page)
    titles = ["Sent", "From", "About", "Tags"]
    assert titles == re.findall(r'<th scope="col">(\w+)</th>', table)
    assert "2026-11-01 08:30" in table
    found = service.page(f"{page}?in.sender=ADA&in.sent=2026-11-0&text=letter")
    assert [1, 3, 5, 7, 9] == [int(one) for one in re.findall(r"<td[^>]*>Letter (\d+)", found)]
    assert 'name="in.sender" value="ADA"' in found
    assert "Letter 9 " in service.page(f"{page}?in.tags=new,+long")
    assert "Letter 7 " in service.page(f"{page}?text=garden")
    assert "Nothing here is like that." in service.page(f"{page}?in.nothing=x")
    one = service.page(f"{page}/item?key=07")
    assert "a secret garden" in one
    assert "2026-11-07 08:30 UTC" in one
    where = {"where": ["sender:ada", "sent:2026-11-27"]}
    assert ["27"] == [
        item["key"] for item in asked(charm, "GET", "items/letters", **where)["items"]
    ]
    with pytest.raises(Refused, match="where: 'ada' is not of the form MEMBER:TEXT"):
        asked(charm, "GET", "items/letters", where=["ada"])
    told = service.cli(
        *("charm", "items", charm.ref, "letters", "--where", "sender=ada", "--where", "id=27")
    )
    assert ("27 ", True) == (told.stdout.splitlines()[1][:3], "28 items" in told.stderr)


def test_a_table_of_days_begins_today(service: Service) -> None:
    """On the page of its charm; what was before is in the whole table."""
    charm = service.add(LETTERS, cause="days")
    today = datetime.now(UTC)
    days = {when: f"{today + timedelta(days=when):%Y-%m-%d}" for when in (-3, 3)}
    items = {f"{day} a": {"id": 1, "sender": day} for day in days.values()}
    asked(charm, "PUT", "items/letters", {"items": items})
    own, table = (service.page(f"/charms/{charm.ref}{path}") for path in ("", "/items/letters"))
    assert "from today" in own
    assert [True, False] == [f">{days[when]}<" in own for when in (3, -3)]
    assert f">{days[-3]}<" in table
    assert f"after={today:%Y-%m-%d}" in table


def test_a_run_that_wrote_items_only_says_so(service: Service) -> None:
    """A run by hand is not told to have written nothing."""
    writer = """from bg_charm_service import Charm, Items

class Writer(Charm):
    letters: Items[str]

    async def bg_updater(self, event: dict) -> None:
        self.letters.add(["a"])
"""
    charm = service.add(writer)
    first, second = (service.cli("charm", "run", charm.ref).stdout for _ in range(2))
    assert "letters was written to" in first
    assert "nothing written" not in first
    assert second.rstrip().endswith("nothing written")


def test_items_are_written_from_outside(service: Service, charm: RunningCharm) -> None:
    """People write and remove items, checked as the charm's own; the field cannot be set."""
    items = {"a": {"name": "Ada"}, "b": {"name": "Bob"}}
    asked(charm, "PUT", "items/people", {"items": items})
    asked(charm, "PUT", "items/people", {"items": {"c": {"name": "C"}}, "remove": ["a"]})
    assert [[["b", "c"]]] == seen(charm, ("pages", "people", 5))
    with pytest.raises(Refused, match=r"people\['d'\]\.name: Field required"):
        asked(charm, "PUT", "items/people", {"items": {"d": {}, "e": {"name": "E"}}})
    with pytest.raises(Refused, match=r"people\['b'\]: it is to be written and to be removed"):
        asked(charm, "PUT", "items/people", {"items": items, "remove": ["x", "b"]})
    assert 2 == charm.get("people")["$items"]
    with pytest.raises(Refused, match="it cannot be set as a whole"):
        asked(charm, "PUT", "state/people", {})


def test_a_charm_is_added_with_items(service: Service) -> None:
    """What `--set` says of a collection are its first items."""
    charm = service.add(COLLECTED, values={"wanted": {"a": "", "b": ""}})
    assert [["a", "b"]] == seen(charm, ("first", "wanted", 5))
    with pytest.raises(Refused, match=r"wanted\['a'\]"):
        service.add(COLLECTED, values={"wanted": {"a": 7}})
    with pytest.raises(Refused, match="wanted is a collection"):
        service.add(COLLECTED, values={"wanted": ["a"]})


def test_a_removed_field_takes_its_items_along(service: Service, charm: RunningCharm) -> None:
    """New source without a collection drops what was in it; with it again, it is empty."""
    seen(charm, ("add", "wanted", ["a"]), ("put", "people", {"x": {"name": "X"}}))
    without = COLLECTED.replace("    people: Items[Person]\n", "")
    report = asked(charm, "PUT", "source", {"source": without, "file": "without.py"})
    assert (True, ["people"]) == (report["applied"], report["removed_fields"])
    with pytest.raises(Refused, match="has no collection people; it has wanted"):
        asked(charm, "GET", "items/people")
    report = asked(charm, "PUT", "source", {"source": COLLECTED, "file": "with.py"})
    assert [0, ["a"]] == seen(charm, ("len", "people"), ("first", "wanted", 5))


def test_items_that_would_be_lost_are_counted_and_asked_for(
    service: Service, charm: RunningCharm, tmp_path: Path
) -> None:
    """A new source without a collection that has items: on a terminal, nothing without a yes."""
    seen(charm, ("put", "people", {"x": {"name": "X"}}), ("add", "wanted", ["a", "b"]))
    without = tmp_path / "without.py"
    without.write_text(COLLECTED.replace("    wanted: Items[str]\n", ""))
    command = ("charm", "update", charm.ref, str(without))
    asks = re.compile(r"Update .*, and remove the collection wanted with its 2 items\? \[y/N\]")
    told = service.cli(*command, "--dry-run").stdout
    assert "field no longer used: wanted, a collection with 2 items" in told
    refused = answered_at_a_terminal(service, command, "n\n")
    assert (1, True) == (refused.returncode, bool(asks.search(refused.stdout)))
    assert ["a", "b"] == seen(charm, ("first", "wanted", 5))[0]
    done = answered_at_a_terminal(service, command, "y\n")
    assert (0, True) == (done.returncode, bool(asks.search(done.stdout)))
    assert "wanted, a collection with 2 items" in done.stdout
    with pytest.raises(Refused, match="has no field wanted"):
        charm.get("wanted")


def test_items_are_checked_against_a_new_type(charm: RunningCharm) -> None:
    """Those that do not fit keep a new source from being applied, and are named."""
    seen(charm, ("put", "people", {"x": {"name": "X"}, "y": {"name": "Y"}}))
    other = COLLECTED.replace("    people: Items[Person]\n", "    people: Items[int]\n")
    report = asked(charm, "PUT", "source", {"source": other, "file": "other.py"})
    assert not report["applied"]
    assert "people['x']" in report["problems"][0]
    seen(charm, ("remove", "people", ["x", "y"]))
    assert asked(charm, "PUT", "source", {"source": other, "file": "other.py"})["applied"]


def test_items_beyond_what_is_checked_are_told(charm: RunningCharm) -> None:
    """Of a large collection the first ones are checked, and the answer says how many."""
    for part in range(3):
        items = {f"{part}{number:02}": {"name": "N" * 50_000} for number in range(20)}
        asked(charm, "PUT", "items/people", {"items": items})
    report = asked(charm, "PUT", "source", {"source": COLLECTED + "\n", "file": "same.py"})
    assert report["applied"]
    assert [] == report["problems"]
    (note,) = report["notes"]
    assert re.fullmatch(r"Of the 60 items of people the first 4\d were checked\.", note), note


def test_an_item_is_shown_by_its_path(service: Service, charm: RunningCharm) -> None:
    """FIELD/KEY is an item, also where its key has a bar; what is not there is named."""
    seen(charm, ("put", "people", {"x/y": {"name": "X"}}))
    assert "X" in service.cli("charm", "get", charm.ref, "people/x/y").stdout
    assert "has no item 'z'" in service.cli("charm", "get", charm.ref, "people/z").stderr
    assert "has no collection no" in service.cli("charm", "get", charm.ref, "no/z").stderr


def answered_at_a_terminal(
    service: Service, command: Sequence[str], said: str
) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard input is a terminal at which somebody answers."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, said.encode())
        return service.cli(*command, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_collection_stays_one(service: Service, charm: RunningCharm) -> None:
    """New source cannot make a field of another kind of a collection."""
    other = COLLECTED.replace("    people: Items[Person]\n", "    people: int = 0\n")
    report = asked(charm, "PUT", "source", {"source": other, "file": "other.py"})
    assert not report["applied"]
    assert "people was a collection" in report["problems"][0]


def test_an_item_that_does_not_fit_fails_its_run(charm: RunningCharm) -> None:
    """What is no value of the collection's type is not written, and the line is named."""
    failed = charm.perform(do=[("put", "wanted", {"a": 7})])
    assert ("failure", "state") == (failed["status"], failed["cause"])
    assert "wanted['a']: Input should be a valid string" in failed["error"]
    failed = charm.perform(do=[("put", "wanted", {"": "x"})])
    assert "is no key" in failed["error"]


def test_a_run_writes_so_much_of_items(charm: RunningCharm) -> None:
    """It is told what is left, and one that writes more fails and wrote nothing."""
    large = {f"{number}": 1_000_000 for number in range(5)}
    before, _, after = seen(
        charm, ("room", "wanted"), ("put", "wanted", {"a": "x" * 1000}), ("room", "wanted")
    )
    assert (4 * 1024 * 1024, before - 1103) == (before, after)
    failed = charm.perform(do=[("fill", "wanted", large)])
    assert ("failure", "state_size") == (failed["status"], failed["cause"])
    assert "self.again(after=0)" in failed["error"]
    failed = charm.perform(do=[("fill", "wanted", {"b": 1_050_000})])
    assert "one item may be 1M" in failed["error"]
    assert [["a"]] == seen(charm, ("first", "wanted", 5))


def test_collections_have_quotas(tmp_path: Path) -> None:
    """Those of one charm, and of all charms together; what shrinks is always fine."""
    flags = ("--interval=3600", "--max-retries=0", "--items-size=2M", "--items-total=3M")
    megabyte = 1_000_000
    with Service(tmp_path / "data", *flags) as service:
        first, second = service.add(COLLECTED), service.add(COLLECTED)
        seen(first, ("fill", "wanted", {"a": megabyte, "b": megabyte}))
        failed = first.perform(do=[("fill", "wanted", {"c": megabyte})])
        assert ("failure", "state_size") == (failed["status"], failed["cause"])
        assert "may be 2M (--items-size)" in failed["error"]
        failed = second.perform(do=[("fill", "wanted", {"a": megabyte, "b": megabyte})])
        assert "may be 3M together (--items-total)" in failed["error"]
        seen(first, ("remove", "wanted", ["a"]), ("put", "wanted", {"b": ""}))
        seen(second, ("fill", "wanted", {"a": megabyte, "b": megabyte}))


def test_collections_are_exported_and_imported(service: Service, tmp_path: Path) -> None:
    """Their items follow their charm, and are there in another service, all of them."""
    charm = service.add(COLLECTED, cause="exported")
    people = {f"{number:04}": {"name": f"Person {number}"} for number in range(1200)}
    seen(charm, ("put", "people", people), ("add", "wanted", ["a", "b"]))
    lines = service.cli("charm", "export").stdout.splitlines()
    exported = [line for line in lines if '"cause":"exported"' in line]
    assert 1 + 3 + 1 == len(exported)
    with Service(tmp_path / "data", "--interval=3600") as other:
        file = tmp_path / "charms.jsonl"
        file.write_text("\n".join(exported))
        said = other.cli("charm", "import", str(file)).stdout
        assert "1 added, with 1,202 items of collections." in said
        again = RunningCharm(other, charm.ref)
        assert 1200 == again.get("people")["$items"]
        assert "Person 1199" == asked(again, "GET", "item/people", key="1199")["name"]
        assert "1 were there already" in other.cli("charm", "import", str(file)).stdout


def test_items_outlast_a_kill(tmp_path: Path) -> None:
    """What was settled is there after kill -9, and the doctor finds nothing wrong with it."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        charm = service.add(COLLECTED)
        seen(charm, ("add", "wanted", ["a", "b"]), ("put", "people", {"x": {"name": "X"}}))
        service.kill()
        service.start()
        again = RunningCharm(service, charm.ref)
        assert [["a", "b"], 1] == seen(again, ("first", "wanted", 5), ("len", "people"))
        assert "error" not in service.cli("doctor").stdout


def test_a_collection_is_expected_to_change(service: Service) -> None:
    """What a run writes into it renews it, as a field; a run that only looks does not."""
    field = "    wanted: Items[str]\n"
    source = COLLECTED.replace(field, f'    expects = {{"wanted": "1d"}}\n{field}')
    charm = service.add(source)

    def stale_at() -> float:
        (expected,) = charm.show()["expects"]
        assert "wanted" == expected["field"]
        return float(expected["stale_at"])

    first = stale_at()
    seen(charm, ("add", "wanted", ["a"]))
    second = stale_at()
    seen(charm, ("first", "wanted", 5))
    assert first < second == stale_at()
