"""One run of a charm on a snapshot: what it reads, what it writes, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from threading import Barrier
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bg_charm_service import Cell, Charm, CharmContext, Items, Secret, Stream
from bg_charm_service.domain.errors import NotFound, StateError
from bg_charm_service.domain.model import CharmSchema, FieldKind, FieldSchema
from bg_charm_service.sdk.run_items import ItemSource, MemoryItems
from bg_charm_service.workers.runtime.charm_binding import (
    Changes,
    LinkInfo,
    MemorySnapshot,
    bind,
    changes,
    describe,
    handler,
    load_class,
    validate_field,
)

CONTEXT = CharmContext(run_id="7.2", job_id=7, attempt=2, space="did:key:z6Mk", charm_id="baedrei")


class Color(Enum):
    """An enum in a field."""

    RED = "red"


class Settings(BaseModel):
    """A model whose members have other names in JSON."""

    model_config = ConfigDict(populate_by_name=True)

    limit: int = Field(default=10, alias="maxItems")
    names: list[str] = Field(default_factory=list)


@dataclass
class Point:
    """A dataclass in a field."""

    x: int = 0
    tags: list[str] = field(default_factory=list)


class Everything(Charm):
    """Has fields of many types."""

    number: int = 0
    ratio: float = 0
    text: str = ""
    names: list[str] = Field(default_factory=list)
    nested: dict[str, Any] = Field(default_factory=dict)
    settings: Settings = Settings()
    point: Point = Field(default_factory=Point)
    maybe: float | None = None
    at: datetime | None = None
    wait: timedelta = timedelta(0)
    data: bytes = b""
    unique: set[str] = Field(default_factory=set)
    pair: tuple[int, str] = (0, "")
    by_number: dict[int, str] = Field(default_factory=dict)
    price: Decimal = Decimal(0)
    color: Color = Color.RED
    mode: Literal["a", "b"] = "a"
    path: PurePosixPath = PurePosixPath("/")
    key: UUID = UUID(int=0)
    small: int = Field(default=0, le=5)
    anything: Any = None
    token: Secret[str] = ""
    required: int

    def bg_updater(self, event: Any) -> None:
        """Do nothing."""

    async def add_item(self, event: str) -> str:
        """Add a name."""
        self.names.append(event)
        return event


class Linked(Charm):
    """Has links."""

    auth: Cell[dict[str, Any]]
    archive: Cell[list[int]] | None = None
    out: Stream
    log: Stream | None = None
    plain: int = 0

    def bg_updater(self, event: Any) -> None:
        """Do nothing."""


def picky(value: str) -> str:
    """Refuse every value, loudly."""
    raise ValueError(f"{value} is no good")


class Hidden(Charm):
    """Has secrets that nothing fits."""

    token: Secret[str]
    strict: Secret[Annotated[str, AfterValidator(picky)]]

    def bg_updater(self, event: Any) -> None:
        """Do nothing."""


class Stored:
    """A snapshot that counts what is loaded from it."""

    def __init__(self, values: Mapping[str, object], **links: bool) -> None:
        self.values = {
            name: value if isinstance(value, bytes) else json.dumps(value).encode()
            for name, value in values.items()
        }
        self._links = {name: LinkInfo(writable=writable) for name, writable in links.items()}
        self.loads: list[str] = []

    def load(self, field: str) -> bytes:
        """Give a value, and remember that it was asked for."""
        self.loads.append(field)
        return self.values[field]

    def links(self) -> Mapping[str, LinkInfo]:
        """Give the links that the test has set."""
        return self._links

    def items(self, field: str) -> ItemSource:
        """Give a collection, which is empty."""
        return MemoryItems({})

    @property
    def most_item_bytes(self) -> int:
        """How much may be written of items."""
        return 1000

    async def renew(self, field: str, seen: str) -> bytes:
        """Give what there is: nobody renews anything here."""
        return self.values[field]


def everything(**values: object) -> Everything:
    """Bind the charm of many types to these values; the others have their defaults."""
    charm: Everything = bind_to(Everything, Stored(values))
    return charm


def bind_to(cls: type[Any], snapshot: Stored) -> Any:
    """Bind any charm."""
    return bind(cls, snapshot, CONTEXT)


def test_describe_says_what_the_class_declares() -> None:
    """The schema holds name, description, fields with kind and default, and streams."""
    assert describe(Linked) == CharmSchema(
        class_name="Linked",
        name="Linked",
        doc="Has links.",
        fields=(
            FieldSchema("auth", FieldKind.CELL, None),
            FieldSchema("archive", FieldKind.CELL, b"null"),
            FieldSchema("out", FieldKind.STREAM, None),
            FieldSchema("log", FieldKind.STREAM, b"null"),
            FieldSchema("plain", FieldKind.VALUE, b"0"),
        ),
        streams=("bgUpdater",),
    )


class Letter(BaseModel):
    """An item with titles."""

    id: int
    sender: str = Field(title="From")
    about: str = Field(default="", alias="subject", title="About " * 100)


class Letters(Charm):
    """Has collections."""

    letters: Items[Letter]
    wanted: Items[str]


def test_describe_names_the_columns_of_collections() -> None:
    """The members with a title, by the name under which they are stored; it is bounded."""
    columns = describe(Letters).columns
    assert {"letters": (("sender", "From"), ("subject", ("About " * 10)))} == columns


def test_describe_gives_defaults_in_normal_form() -> None:
    """A default is JSON as the class itself would write it; a required field has none."""
    schema = describe(Everything)
    defaults = {one.name: one.default for one in schema.fields}

    assert defaults["ratio"] == b"0.0"
    assert defaults["settings"] == b'{"maxItems":10,"names":[]}'
    assert defaults["required"] is None
    assert schema.field("token") == FieldSchema("token", FieldKind.SECRET, b'""')
    assert set(schema.streams) == {"bgUpdater", "addItem"}


def test_nothing_is_loaded_before_it_is_touched() -> None:
    """Binding loads nothing; a read loads its field once."""
    snapshot = Stored({"number": 1, "text": "x"})
    charm = bind_to(Everything, snapshot)
    assert snapshot.loads == []

    assert (charm.number, charm.number) == (1, 1)
    assert snapshot.loads == ["number"]


def test_untouched_state_is_not_parsed() -> None:
    """A field that does not fit its type hurts only those who read it."""
    charm = everything(number=b"{", text="fine")

    assert charm.text == "fine"
    assert changes(charm) == Changes(reads=("text",))


def test_missing_value_is_the_default() -> None:
    """A field that was never stored has its default, and writing the default is no change."""
    charm = everything()
    assert charm.names == []
    charm.number = 0

    assert changes(charm).writes == {}


EDITS: dict[str, tuple[Callable[[Everything], object], dict[str, object]]] = {
    "assigned": (lambda c: setattr(c, "number", 2), {"number": 2}),
    "list appended": (lambda c: c.names.append("x"), {"names": ["x"]}),
    "dict nested": (
        lambda c: c.nested.setdefault("a", {}).update(b=1),
        {"nested": {"a": {"b": 1}}},
    ),
    "model": (
        lambda c: setattr(c.settings, "limit", 3),
        {"settings": {"maxItems": 3, "names": []}},
    ),
    "model nested": (
        lambda c: c.settings.names.append("x"),
        {"settings": {"maxItems": 10, "names": ["x"]}},
    ),
    "dataclass": (lambda c: c.point.tags.append("x"), {"point": {"x": 0, "tags": ["x"]}}),
    "optional": (lambda c: setattr(c, "maybe", 1.5), {"maybe": 1.5}),
    "int for float": (lambda c: setattr(c, "ratio", 1), {"ratio": 1.0}),
    "tuple for list": (lambda c: setattr(c, "names", ("x",)), {"names": ["x"]}),
    "datetime": (
        lambda c: setattr(c, "at", datetime(2025, 1, 2, tzinfo=UTC)),
        {"at": "2025-01-02T00:00:00Z"},
    ),
    "bytes": (lambda c: setattr(c, "data", b"\xff\x00"), {"data": "_wA="}),
    "set": (lambda c: c.unique.add("x"), {"unique": ["x"]}),
    "secret": (lambda c: setattr(c, "token", "t"), {"token": "t"}),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_change_is_seen(name: str) -> None:
    """Assigned or changed in place, at any depth: the field is written, and no other."""
    edit, expected = EDITS[name]
    charm = everything()
    edit(charm)

    assert {field: json.loads(value) for field, value in changes(charm).writes.items()} == expected


ROUND_TRIPS: dict[str, object] = {
    "wait": timedelta(seconds=90, microseconds=5),
    "data": bytes(range(256)),
    "unique": {"a", "b", "c"},
    "pair": (1, "x"),
    "by_number": {1: "x"},
    "price": Decimal("1.10"),
    "path": PurePosixPath("/a/b"),
    "key": UUID(int=7),
    "at": datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "settings": Settings(maxItems=2, names=["x"]),
    "point": Point(1, ["x"]),
    "mode": "b",
    "anything": {"a": [1, 2.5, None, True, "x"]},
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_values_come_back_as_they_were(name: str) -> None:
    """What one run writes, the next reads, and reading it again changes nothing."""
    first = everything()
    setattr(first, name, ROUND_TRIPS[name])
    second = everything(**changes(first).writes)

    assert getattr(second, name) == ROUND_TRIPS[name]
    assert changes(second) == Changes(reads=(name,))


def test_other_spelling_of_the_same_value_is_no_change() -> None:
    """A stored value that this class would write differently is not written for that alone."""
    charm = everything(ratio=b"1", settings=b'{ "names": [] }', unique=b'["b", "a", "b"]')
    charm.ratio, charm.settings, charm.unique  # noqa: B018

    assert changes(charm).writes == {}


def test_equal_assignment_is_a_read() -> None:
    """A value assigned but equal is not written, and the run depends on it all the same."""
    charm = everything(number=3)
    charm.number = 3

    assert changes(charm) == Changes(reads=("number",))


def test_large_value_replaced_unread_is_not_fetched() -> None:
    """Replacing a large field does not load the old value first."""
    snapshot = Stored({"text": "old"})
    charm = bind_to(Everything, snapshot)
    charm.text = "x" * 100_000

    assert list(changes(charm).writes) == ["text"]
    assert snapshot.loads == []


def test_broken_value_can_be_replaced() -> None:
    """A stored value that does not fit can be overwritten with one that does."""
    charm = everything(number="broken")
    charm.number = 1

    assert changes(charm).writes == {"number": b"1"}


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


class Scalar:
    """Shaped as a number of numpy."""

    shape = ()

    def item(self) -> int:
        """Give the number."""
        return 1

    tolist = item


class Array:
    """Shaped as an array of numpy."""

    shape = (1,)

    def item(self) -> int:
        """Give its only number."""
        return 1

    def tolist(self) -> list[int]:
        """Give the numbers."""
        return [1]


class Frame:
    """Shaped as a table of polars."""

    shape = (1, 1)

    def to_dicts(self) -> list[dict[str, int]]:
        """Give the rows."""
        return [{"a": 1}]

    def to_dict(self) -> dict[str, Array]:
        """Give the columns."""
        return {"a": Array()}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("number", "5", "number: Input should be a valid integer"),
        ("number", 2.5, "number: Input should be a valid integer"),
        ("number", None, "number: Input should be a valid integer"),
        ("names", ["a", 1], r"names\.1: Input should be a valid string"),
        ("names", "abc", "names: Input should be a valid (list|array)"),
        ("settings", {"maxItems": "x"}, r"settings\.maxItems: Input should be a valid integer"),
        ("small", 6, "small: Input should be less than or equal to 5"),
        ("mode", "c", "mode: Input should be 'a' or 'b'"),
        ("ratio", float("nan"), "ratio: cannot be stored as JSON: NaN or infinity"),
        ("maybe", float("nan"), "maybe: cannot be stored as JSON: NaN or infinity"),
        ("maybe", float("-inf"), "maybe: cannot be stored as JSON: NaN or infinity"),
        ("nested", {"a": [float("inf")]}, "nested: cannot be stored as JSON: NaN or infinity"),
        ("nested", {"a": object()}, r"nested\.a: cannot be stored as JSON: .*<class 'object'>\Z"),
        (
            "anything",
            {"a": [1, {"b\nc": Scalar()}]},
            r"anything\.a\.1\.b c: .*Scalar.*`\.item\(\)`",
        ),
        ("anything", {"\udfff": Array()}, "anything: cannot be stored as JSON: .*surrogates"),
        (
            "anything",
            Settings.model_construct(names=Array()),
            "anything: cannot be stored as JSON: .*Array",
        ),
        ("names", Array(), r"names: cannot be stored as JSON: .*\(store what its `\.tolist\(\)`"),
        ("nested", {"a": Frame()}, r"nested\.a: .*\(store what its `\.to_dicts\(\)` gives\)"),
        ("anything", lambda: None, "anything: cannot be stored as JSON: .*function"),
        ("anything", _endless(), "anything: cannot be stored as JSON: .*Circular reference"),
        ("anything", _deep(5000), "anything: cannot be stored as JSON: .*depth"),
        ("anything", _deep(210), "anything: Invalid JSON: recursion limit exceeded"),
        ("text", "\ud800", "text: cannot be stored as JSON: .*surrogates not allowed"),
        ("anything", {"\ud800": 1}, "anything: cannot be stored as JSON: .*surrogates"),
        ("names", ["a", "\udfff"], "names: cannot be stored as JSON: .*surrogates"),
    ],
)
def test_state_that_cannot_be_stored_is_refused(name: str, value: object, expected: str) -> None:
    """A value that is not JSON, or not of its type, is a StateError of one line with its field."""
    charm = everything()
    setattr(charm, name, value)

    with pytest.raises(StateError, match=rf"\A{expected}") as caught:
        changes(charm)
    assert "\n" not in str(caught.value)


def test_several_problems_are_counted() -> None:
    """Of several problems in a value the first is told, and how many more there are."""
    charm = everything(names=[1, 2, 3])

    with pytest.raises(
        StateError, match=r"names\.0: Input should be a valid string \(and 2 more\)"
    ):
        charm.names  # noqa: B018


def test_error_about_a_secret_does_not_show_it() -> None:
    """Neither the value of a secret nor a validator's words about it are told."""
    charm = bind_to(Hidden, Stored({"token": ["hunter2"], "strict": "hunter2"}))

    for name in ("token", "strict"):
        with pytest.raises(StateError, match=rf"\A{name}: \w+\Z") as caught:
            getattr(charm, name)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("number", b" 5 ", b"5"),
        ("ratio", b"1", b"1.0"),
        ("settings", b"{}", b'{"maxItems":10,"names":[]}'),
        ("at", b'"2025-01-02T00:00:00+00:00"', b'"2025-01-02T00:00:00Z"'),
        ("anything", b'{"a": null}', b'{"a":null}'),
        ("archive", b"[1, 2]", b"[1,2]"),
    ],
)
def test_validate_field_gives_the_normal_form(name: str, value: bytes, expected: bytes) -> None:
    """A value that fits comes back as the class writes it."""
    cls = Linked if name == "archive" else Everything

    assert validate_field(cls, name, value) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("number", b'"x"', "number: Input should be a valid integer"),
        ("number", b"{", "number: Invalid JSON"),
        ("anything", b"NaN", "anything: cannot be stored as JSON: NaN or infinity"),
        ("ratio", b"1e999", "ratio: cannot be stored as JSON: NaN or infinity"),
        ("anything", b"[" * 1000 + b"]" * 1000, "anything: Invalid JSON: recursion limit"),
        ("text", b'"\xff"', "text: Invalid JSON"),
    ],
)
def test_validate_field_refuses(name: str, value: bytes, expected: str) -> None:
    """A value that does not fit is a StateError with its field and the reason."""
    with pytest.raises(StateError, match=rf"\A{expected}"):
        validate_field(Everything, name, value)


def test_validate_field_names_the_fields_there_are() -> None:
    """A field that does not exist is NotFound, with those that do."""
    with pytest.raises(NotFound, match="Linked has no field autj; it has auth, archive"):
        validate_field(Linked, "autj", b"1")


def test_handler_is_found_by_its_outside_name() -> None:
    """A stream's camelCase name leads to the bound method."""
    charm = everything()

    with pytest.raises(StopIteration, match="x"):
        handler(charm, "addItem")("x").send(None)
    assert charm.names == ["x"]


@pytest.mark.parametrize("name", ["add_item", "__init__", "number", "context", ""])
def test_only_streams_have_handlers(name: str) -> None:
    """Nothing but a declared stream can be reached by name."""
    with pytest.raises(NotFound, match=f"Everything has no stream {name}; it has bgUpdater"):
        handler(everything(), name)


def test_context_is_the_runs() -> None:
    """The charm sees which run it is in."""
    assert everything().context is CONTEXT


def test_link_shaped_data_is_data() -> None:
    """A charm that writes something that looks like a link has written a dict."""
    charm = everything()
    charm.nested = {"$link": "did:key:z6Mk/baedrei/auth"}

    assert json.loads(changes(charm).writes["nested"]) == charm.nested


def test_threads_share_one_value() -> None:
    """Threads that read a field at the same time get the same object: no append is lost."""
    charm = everything(names=[])
    barrier = Barrier(8)

    def append(number: int) -> None:
        barrier.wait()
        charm.names.append(str(number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(append, range(8)))

    assert len(json.loads(changes(charm).writes["names"])) == 8


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
    ),
    max_leaves=12,
)


@given(before=JSON, after=JSON)
def test_any_json_value_is_written_exactly_when_it_differs(before: object, after: object) -> None:
    """For any two JSON values: equal ones write nothing, others are stored as they are."""
    charm = everything(anything=json.dumps(before).encode())
    charm.anything = after
    writes = changes(charm).writes

    assert json.loads(writes.get("anything", json.dumps(before))) == after
    if json.dumps(before) == json.dumps(after):
        assert writes == {}


def test_own_field_or_stream_wins_over_a_method_that_charms_gained() -> None:
    """A class from before has its stream `forget` and its field `remind`, and runs as it did."""
    source = """\
from bg_charm_service import Charm

class Old(Charm):
    remind: int = 1
    kept: list[int] = []
    def bg_updater(self, event: dict) -> None:
        self.remind += 1
    def forget(self, event: dict) -> None:
        self.kept = []
"""
    old = load_class(source, "old.py", None)
    schema = describe(old)
    assert ["remind", "kept"] == [field.name for field in schema.fields]
    assert {"bgUpdater", "forget"} == set(schema.streams)
    charm = bind(old, MemorySnapshot({"remind": b"5", "kept": b"[1]"}), CharmContext())
    handler(charm, "bgUpdater")({})
    handler(charm, "forget")({})
    assert {"remind": b"6", "kept": b"[]"} == changes(charm).writes
