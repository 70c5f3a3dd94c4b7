"""Collections in a charm's code: what they do, what is read for it, and what is told in the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bg_charm_service import Cell, Charm, Items, Secret
from bg_charm_service.domain.errors import StateError, StateTooLarge
from bg_charm_service.domain.items import ItemPage, SeenRange, StoredItem, parts_of
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.sdk.charm import CharmContext
from bg_charm_service.sdk.class_schema import DeclarationError
from bg_charm_service.sdk.fields import CharmField, parse_annotation
from bg_charm_service.sdk.run_items import ItemBudget, MemoryItems, RunItems
from bg_charm_service.workers.runtime.charm_binding import describe


class Mail(BaseModel):
    """An item."""

    subject: str
    labels: list[str] = []


class Reader(Charm):
    """Has collections, its own and another's."""

    mails: Items[Mail] = Items()
    wanted: Items[str] = Items()
    others: Cell[Items[str]] | None = None


class Counting(MemoryItems):
    """Stored items that count what is asked of them."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        super().__init__(values)
        self.asked: list[str] = []

    def find(self, keys: Sequence[str], *, has_values: bool) -> Sequence[StoredItem]:
        self.asked.append(f"find {len(keys)}")
        return super().find(keys, has_values=has_values)

    def page(self, after: str, limit: int, *, has_values: bool) -> ItemPage:
        self.asked.append(f"page {after}")
        return super().page(after, limit, has_values=has_values)

    def count(self) -> int:
        self.asked.append("count")
        return super().count()


def opened(
    values: Mapping[str, bytes], of: Any = str, most_bytes: int = 10_000
) -> tuple[RunItems[Any], Counting]:
    """Give a collection as a run sees it, and where it comes from."""
    source = Counting(values)
    field = CharmField("box", FieldKind.ITEMS, parse_annotation(Items[of]).adapter)
    return RunItems(field, source, ItemBudget(most_bytes)), source


def test_only_what_is_touched_is_read() -> None:
    """A key is asked for once; what is written is asked for not at all."""
    box, source = opened({"a": b'"1"', "b": b'"2"'})
    assert ("1", "1", True, False) == (box["a"], box["a"], "a" in box, "c" in box)
    box["x"] = "y"
    box.remove(["b"])
    assert ("y", False, ["find 1", "find 1"]) == (box["x"], "b" in box, source.asked)
    touched = box.touched()
    assert touched is not None
    assert ({"a": 1, "c": 0}, {"x": b'"y"', "b": None}) == (touched.seen, touched.writes)


def test_what_was_not_touched_is_not_told() -> None:
    """A collection that a run never looked at has nothing to tell."""
    box, source = opened({"a": b'"1"'})
    assert (None, []) == (box.touched(), source.asked)


def test_keys_are_added_by_one_question() -> None:
    """Those that are there are left alone; each is added once."""
    box, source = opened({"a": b'"kept"'})
    box.add(["a", "b", "c", "b"])
    box.add(["c"])
    assert ["find 3"] == source.asked
    assert ["a", "b", "c"] == box.first(10)
    touched = box.touched()
    assert touched is not None
    assert {"b": b'""', "c": b'""'} == touched.writes


def test_length_counts_what_the_run_changed() -> None:
    """It is asked for once, and what was added and removed since is counted here."""
    box, source = opened({"a": b'"1"', "b": b'"2"', "c": b'"3"'})
    box.remove(["a", "nothing"])
    box["x"] = "new"
    box["b"] = "changed"
    assert (3, 3, 1) == (len(box), len(box), source.asked.count("count"))
    del box["x"]
    assert 2 == len(box)
    with pytest.raises(KeyError):
        del box["x"]


def test_first_keys_go_on_behind_what_was_removed() -> None:
    """A list that is worked off from the front is not read again and again from its beginning."""
    stored = {f"{number:03}": b'""' for number in range(60)}
    box, source = opened(stored)
    done: list[str] = []
    while box:
        keys = box.first(10)
        done += keys
        box.remove(keys)
    assert list(stored) == done
    assert len(source.asked) < 30
    box["000"] = "again"
    assert ["000"] == box.first(10)


def test_the_first_keys_are_those_of_both() -> None:
    """What is stored and what the run has put stand in one order; `first` of none asks nothing."""
    box, source = opened({"b": b'""', "d": b'""'})
    assert ([], []) == (box.first(0), source.asked)
    box.add(["a", "c", "e"])
    assert ["a", "b", "c"] == box.first(3)
    assert ["a", "b", "c", "d", "e"] == box.first(9)


def test_many_are_asked_for_at_once() -> None:
    """A page is one question, with all that is in it; so are the values of some keys."""
    stored = {f"{number}": b'"x"' for number in range(6)}
    box, source = opened(stored)
    assert [2, 2, 2] == [len(page) for page in box.pages(2)]
    assert ["page ", "page 1", "page 3"] == source.asked
    box, source = opened(stored)
    box["3"] = "new"
    box.remove(["4"])
    assert {"1": "x", "3": "new", "5": "x"} == box.some(["1", "3", "4", "5", "7"])
    assert (None, "x", True) == (box.get("7"), box["1"], "5" in box)
    assert ["find 3"] == source.asked
    touched = box.touched()
    assert touched is not None
    assert {"1": 1, "5": 1, "7": 0} == touched.seen


def test_pages_hold_no_more_than_a_page() -> None:
    """They have what the run changed, and in-place changes count before the next page is asked."""
    stored = {f"{number}": b'{"subject":"s","labels":[]}' for number in range(5)}
    box, _ = opened(stored, of=Mail)
    box["1"] = Mail(subject="new")
    box.remove(["2"])
    pages = []
    for page in box.pages(2):
        pages.append([f"{key}: {mail.subject}" for key, mail in page.items()])
        page[next(iter(page))].labels.append("seen")
    assert [["0: s", "1: new"], ["3: s", "4: s"]] == pages
    touched = box.touched()
    assert touched is not None
    assert {"0", "1", "2", "3"} == set(touched.writes)
    assert b'{"subject":"s","labels":["seen"]}' == touched.writes["3"]


KEYS = st.sampled_from(["a", "aa", "b", "c", "d", "e", "ä"])
DEEDS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.sampled_from(["1", "2"])),
    st.tuples(st.just("remove"), st.lists(KEYS, max_size=3)),
    st.tuples(st.just("add"), st.lists(KEYS, max_size=3)),
    st.tuples(st.just("look"), KEYS, st.integers(1, 4)),
    st.tuples(st.just("take"), st.integers(1, 3)),
)


@given(st.dictionaries(KEYS, st.sampled_from(["1", "2"])), st.lists(DEEDS, max_size=12))
def test_a_run_sees_what_a_dict_would_show(stored: dict[str, str], deeds: list[Any]) -> None:
    """Whatever a run does, one after the other, it sees as it would in a dict of its own."""
    box, _ = opened({key: json.dumps(value).encode() for key, value in stored.items()})
    model = Items(stored)
    for what, *arguments in deeds:
        if what == "put":
            box[arguments[0]] = model[arguments[0]] = arguments[1]
        elif what == "take":
            keys = model.first(arguments[0])
            assert keys == box.first(arguments[0])
            model.remove(keys)
            box.remove(keys)
        elif what == "look":
            key, count = arguments
            assert (key in model, model.get(key)) == (key in box, box.get(key))
            assert model.some([key, "e"]) == box.some([key, "e"])
            assert (model.first(count), bool(model)) == (box.first(count), bool(box))
            assert (len(model), list(model.pages(count))) == (len(box), list(box.pages(count)))
        else:
            getattr(model, what)(arguments[0])
            getattr(box, what)(arguments[0])
    touched = box.touched()
    after = {key: json.dumps(value).encode() for key, value in stored.items()}
    for key, value in (touched.writes if touched is not None else {}).items():
        after.pop(key, None)
        after |= {} if value is None else {key: value}
    assert after == {
        key: json.dumps(value).encode() for page in model.pages() for key, value in page.items()
    }


def test_ranges_say_how_far_the_run_saw() -> None:
    """`first` sees up to its last key, whether there is any up to the first, pages to the end."""
    stored = {"a": b'""', "b": b'""', "c": b'""'}
    saw = {}
    for what in ("first", "any", "pages"):
        box, _ = opened(stored)
        done: Any = {"first": lambda: box.first(2), "any": lambda: bool(box)}  # noqa: B023
        done["pages"] = lambda: [len(page) for page in box.pages(2)]  # noqa: B023
        done[what]()
        touched = box.touched()
        assert touched is not None
        saw[what] = touched.ranges
    assert (SeenRange("", "b", 2, 1),) == saw["first"]
    assert (SeenRange("", "a", 1, 1),) == saw["any"]
    assert (SeenRange("", "b", 2, 1), SeenRange("b", "", 1, 1)) == saw["pages"]


def test_what_does_not_fit_is_refused_where_it_is_written() -> None:
    """The error names the item; keys are texts that can be stored."""
    box, _ = opened({}, of=Mail)
    wrong: Any = {"subject": 7}
    with pytest.raises(StateError, match=r"box\['a'\]"):
        box["a"] = wrong
    mail = Mail(subject="s")
    for key in ("", "x" * 501, "ä" * 251, "a\0b", "\ud800", 7):
        name: Any = key
        with pytest.raises(StateError, match=r"is no key|is a text"):
            box[name] = mail
        assert name not in box
    with pytest.raises(TypeError, match=r"\.pages\(size\)"):
        list(box)


def test_a_run_writes_and_touches_so_much() -> None:
    """What is left is known; rewriting counts once, and more than there is fails at once."""
    budget = ItemBudget(1000)
    field = CharmField("box", FieldKind.ITEMS, parse_annotation(Items[str]).adapter)
    box: RunItems[str] = RunItems(field, MemoryItems({}), budget)
    box["a"] = "x" * 300
    box["a"] = "x" * 200
    assert 1000 - 303 == budget.left_bytes
    with pytest.raises(StateTooLarge, match="a run may write 1000 of items"):
        box["b"] = "x" * 800
    with pytest.raises(StateTooLarge, match="may touch 20,000 keys"):
        box.add(f"{number}" for number in range(20_001))


def test_a_run_knows_whether_it_can_do_more() -> None:
    """It has the time, the bytes and the keys for another portion, or one of them is short."""
    seconds, room, keys = 6.0, 1000, 10
    context = CharmContext(
        time_left=lambda: seconds, bytes_left=lambda: room, keys_left=lambda: keys
    )
    assert context.has_room()
    assert context.has_room(999, 10, seconds=5.9)
    assert [False] * 3 == [
        *(context.has_room(1000), context.has_room(0, 11), context.has_room(seconds=6.0)),
    ]


def test_what_was_touched_is_told_in_parts() -> None:
    """All parts together say what the whole said."""
    box, _ = opened({f"{number:05}": b'""' for number in range(3000)}, most_bytes=10_000_000)
    box.add(f"new {number}" for number in range(3000))
    len(box)
    whole = box.touched()
    assert whole is not None
    parts = list(parts_of([whole]))
    assert len(parts) > 3
    seen = {key: version for part in parts for key, version in part.seen.items()}
    writes = {key: value for part in parts for key, value in part.writes.items()}
    counts = [count for part in parts for count in part.counts]
    assert (whole.seen, whole.writes, [3000]) == (seen, writes, counts)


def test_a_charm_made_by_hand_has_collections() -> None:
    """A test gives it items as a dict, checked by their type, and behind a link as `Items`."""
    others = Items({"z": ""})
    mails: Any = {"a": Mail(subject="s")}
    charm = Reader(mails=mails, others=Cell(others))
    assert ("s", 0) == (charm.mails["a"].subject, len(charm.wanted))
    charm.wanted.add(["b", "a"])
    assert charm.others is not None
    charm.others.get().add(["y"])
    assert (["a", "b"], ["y", "z"]) == (charm.wanted.first(5), others.first(5))
    wrong: Any = {"a": 7}
    with pytest.raises(StateError, match=r"wanted\['a'\]"):
        Reader(wanted=wrong)
    with pytest.raises(TypeError, match="is a collection"):
        Reader(wanted=["a"])  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match=r"write with self\.wanted\[key\]"):
        charm.wanted = Items()


def test_a_collection_by_itself() -> None:
    """What stands behind a link in a test does as the real one does."""
    box = Items({"b": "2", "a": "1", "c": "3"})
    box["d"] = "4"
    box.remove(["b", "nothing"])
    assert (3, True, ["a", "c"]) == (len(box), bool(box), box.first(2))
    assert [{"a": "1", "c": "3"}, {"d": "4"}] == list(box.pages(2))
    assert ("1", None, False) == (box.get("a"), box.get("x"), "x" in box)
    with pytest.raises(KeyError):
        del box["x"]
    with pytest.raises(TypeError, match=r"\.pages\(size\)"):
        list(box)


def test_what_a_class_declares() -> None:
    """Collections and links to them are fields of their own kinds, without defaults."""
    kinds = {field.name: (field.kind, field.default) for field in describe(Reader).fields}
    assert {
        "mails": (FieldKind.ITEMS, None),
        "wanted": (FieldKind.ITEMS, None),
        "others": (FieldKind.ITEMS_CELL, b"null"),
    } == kinds


@pytest.mark.parametrize(
    ("annotation", "default", "said"),
    [
        (Items[Secret[str]], ..., "items are not encrypted"),
        (Secret[Items[str]], ..., "Items is a whole field"),
        (list[Items[str]], ..., "Items is a whole field"),
        (Items[Items[str]], ..., "Items is a whole field"),
        (Cell[list[Items[str]]], ..., "Items is a whole field"),
        (Items[str] | None, ..., "a collection is always there"),
        (Items[str], {}, "a collection begins empty"),
        (Items[Cell[int]], ..., "Cell and Stream are whole fields"),
        (Items[str], Items({"a": ""}), "a collection begins empty"),
        (Items[Annotated[str, "x"]], ..., None),
    ],
)
def test_collections_that_cannot_be(annotation: Any, default: Any, said: str | None) -> None:
    """A declaration that cannot work is refused when the class is read, by its name."""
    members = {"__annotations__": {"box": annotation}, "__module__": __name__}
    if default is not ...:
        members["box"] = default
    broken = type("Broken", (Charm,), members)
    if said is None:
        assert FieldKind.ITEMS is describe(broken).fields[0].kind
        return
    with pytest.raises(DeclarationError, match=said) as error:
        describe(broken)
    assert "box" == error.value.member
