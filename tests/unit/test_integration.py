"""The author's side of integrations: addresses, lists, cells and the shipped checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import refer
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.integrations.calendars import integration as calendar
from bg_charm_service.integrations.discord import integration as discord
from bg_charm_service.integrations.gcal import integration as gcal
from bg_charm_service.integrations.gmail import integration as gmail
from bg_charm_service.integrations.mail import integration as mail
from bg_charm_service.integrations.rss import integration as rss
from bg_charm_service.scanning.charm_list import MAX_PROBLEMS, parse_manual_charms, read_listed
from bg_charm_service.scanning.integration import (
    CellAddress,
    CellIntegration,
    IntegrationCellConfig,
    NotInitialised,
    cell_access,
    initialize_cell,
    read_cell,
)
from bg_charm_service.sdk.cells import Cell

SYSTEM = "did:key:z6Mkfuw7h6jDwqVb6wimYGys14JFcyTem4Kqvdj9DjpFhY88"
SPACE = space_did("demo")
CHARM = refer({"charm": 1})
OTHER = refer({"charm": 2})
REF = CharmRef(SPACE, CHARM)
STREAM = {"$stream": True}
MAILBOX = {"host": "imap.example.org", "user": "me", "password": {"$secret": True}}


class MemoryCells:
    """Cells in a dict, as the scan process would lend them."""

    def __init__(self, values: dict[CellAddress, object] | None = None) -> None:
        self.stored = {key: json.dumps(value).encode() for key, value in (values or {}).items()}

    def read(self, address: CellAddress) -> bytes | None:
        return self.stored.get(address)

    def write(self, address: CellAddress, value: bytes) -> None:
        self.stored[address] = value


@dataclass
class Item:
    """A listed item that is an object."""

    space: str
    charm_id: str


class Hostile:
    """A listed item that answers nothing but errors."""

    @property
    def space(self) -> str:
        raise ZeroDivisionError("no space for you")

    def __repr__(self) -> str:
        raise ZeroDivisionError("no name either")


def config(**changes: Any) -> IntegrationCellConfig:
    """Give a configuration that lists nothing."""
    settings: dict[str, Any] = {"space_id": "system", "fetch_charms": list, **changes}
    return IntegrationCellConfig(id="x", name="X", **settings)


def test_cell_may_be_given_as_id_text_or_cause() -> None:
    """A merkle id is used as it is; text, under either name, is the cause of the cell."""
    cell = refer({"causal": "bgUpdater-2025-03-18"})
    assert "baedreiew6ioyvfnvp2bdvmgkkz64ffk6gssvgmibh7yaw43yqhtv2nq75a" == cell
    for given in (
        config(cell_id=cell),
        config(cell_id="bgUpdater-2025-03-18"),
        config(cell_cause_name="bgUpdater-2025-03-18"),
    ):
        assert CellAddress(SYSTEM, cell) == given.address()


def test_space_may_be_system_a_name_or_a_did() -> None:
    """`system` means toolshed-system; any other name or DID is that space."""
    assert SYSTEM == CellAddress.of("system", "x").space
    assert SYSTEM == CellAddress.of("toolshed-system", "x").space
    assert SPACE == CellAddress.of(SPACE, "x").space
    with pytest.raises(InvalidInput):
        CellAddress.of("did:key:nonsense", "x")


def test_config_without_a_cell_has_no_address() -> None:
    """An integration need not keep a list in a cell."""
    assert config().address() is None


def listed(items: object) -> tuple[list[CharmRef], list[str]]:
    """The charms of a list by their ids, and what is wrong with it."""
    found = read_listed(items)
    return list(found.refs), found.problems


@pytest.mark.parametrize("name", ["pieceId", "charmId", "piece_id", "charm_id"])
def test_listed_item_may_use_any_of_the_names(name: str) -> None:
    """The charm's id is found under the original's names and ours."""
    assert ([REF], []) == listed([{"space": SPACE, name: CHARM}])


def test_listed_item_may_be_an_object() -> None:
    """Objects with the attributes do, our own references among them, and a generator of them."""
    items: Iterator[object] = iter([Item(SPACE, CHARM), CharmRef(SPACE, OTHER)])
    assert ([REF, CharmRef(SPACE, OTHER)], []) == listed(items)


def test_listed_space_system_is_toolshed_system() -> None:
    """Items may name the system space in short."""
    assert ([CharmRef(SYSTEM, CHARM)], []) == listed([{"space": "system", "charmId": CHARM}])


def test_charm_listed_twice_counts_once() -> None:
    """The order is kept and repetitions are dropped."""
    items = [{"space": SPACE, "charmId": charm} for charm in (OTHER, CHARM, OTHER)]
    assert ([CharmRef(SPACE, OTHER), REF], []) == listed(items)


@pytest.mark.parametrize(
    "item",
    [
        None,
        5,
        "text",
        {},
        [],
        {"space": SPACE},
        {"space": 7, "charmId": CHARM},
        {"space": "did:key:z6Mk", "charmId": CHARM},
        {"space": SPACE, "charmId": "baedrei..."},
        {"space": SPACE, "charmId": "\ud800"},
        {"space": SPACE, "charmId": ["x"]},
        Hostile(),
    ],
    ids=lambda item: type(item).__name__,
)
def test_garbage_item_is_reported_and_costs_the_others_nothing(item: object) -> None:
    """Each unusable item is named by its position; the rest of the list is used."""
    refs, problems = listed([{"space": SPACE, "charmId": OTHER}, item, Item(SPACE, CHARM)])
    assert [CharmRef(SPACE, OTHER), REF] == refs
    assert len(problems) == 1
    assert problems[0].startswith("Listed item 1: ")


def test_many_garbage_items_are_summed() -> None:
    """A list of garbage does not become a flood of problems."""
    refs, problems = listed([None] * (MAX_PROBLEMS + 7))
    assert [] == refs
    assert "7 more listed items are invalid." == problems[-1]
    assert MAX_PROBLEMS + 1 == len(problems)


def test_charms_may_be_described() -> None:
    """With space, cause, source, file and fields; each once, and a source that many have once."""
    described = {"space": "news", "source": "class A: ...", "file": "a.py", "set": {"n": [1]}}
    found = read_listed(
        [
            {**described, "cause": "one"},
            {**described, "cause": "two", "space": "system"},
            {"space": SPACE, "charmId": CHARM},
            {**described, "cause": "one", "source": "class B: ...", "set": {}, "file": None},
        ]
    )
    assert ([REF], []) == (list(found.refs), found.problems)
    assert {"class A: ...": 0, "class B: ...": 1} == found.sources
    one, two = found.described.values()
    assert ("news", "one", "charm.py", 1, {}) == (
        *(one.space, one.cause, one.file_name),
        *(one.source, one.values),
    )
    assert ("toolshed-system", "two", "a.py", 0, {"n": b"[1]"}) == (
        *(two.space, two.cause, two.file_name),
        *(two.source, two.values),
    )


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("source", ""),
        ("source", 7),
        ("source", "x" * 2_000_001),
        ("space", None),
        ("space", "did:key:nonsense"),
        ("cause", " "),
        ("cause", "x" * 1001),
        ("cause", "\ud800"),
        ("cause", CHARM),
        ("file", 7),
        ("set", "text"),
        ("set", {"n": object()}),
        ("set", {"n": float("nan")}),
    ],
)
def test_a_charm_that_is_described_wrongly_is_reported(part: str, value: object) -> None:
    """It is named by its position, and costs the others nothing."""
    good = {"space": "news", "cause": "one", "source": "class A: ...", "set": {}}
    found = read_listed([good | {part: value}, good | {"cause": "two"}])
    assert [("news", "two")] == list(found.described)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("Listed item 0: ")


@pytest.mark.parametrize("items", [None, 3, "abc", {"charms": []}])
def test_what_is_no_list_is_refused(items: object) -> None:
    """A fetch that gives something else altogether is an error, not an empty list."""
    with pytest.raises(InvalidInput, match="must give a list"):
        read_listed(items)


def test_manual_charms_keep_the_originals_messages() -> None:
    """Invalid entries of --charms are skipped, with the texts that people know."""
    entries = [str(REF), "nonsense", f"did:x/{CHARM}", f"{SPACE}/{OTHER}", str(REF)]
    refs, problems = parse_manual_charms(entries)
    assert [REF, CharmRef(SPACE, OTHER)] == refs
    assert [
        "Invalid charm format: nonsense. Expected format: space/charmId",
        "Invalid space ID: did:x. Must be a valid DID.",
    ] == problems


def test_manual_charms_may_be_named() -> None:
    """A space's name, which may hold slashes, gives its DID; a cause is kept for the service."""
    refs, problems = parse_manual_charms(["demo/hello", f"a/b/{OTHER}"])
    assert [CharmRef(space_did("demo"), "hello"), CharmRef(space_did("a/b"), OTHER)] == refs
    assert [] == problems


def test_gmail_reads_its_list_from_its_cell() -> None:
    """The shipped integration lists what its cell in the system space holds."""
    address = CellAddress.of("system", "gmail-integration-2025-03-17")
    items = [{"space": SPACE, "charmId": CHARM}]
    with cell_access(MemoryCells({address: {"charms": items}})):
        assert items == gmail.fetch_charms()


@pytest.mark.parametrize(
    "integration", [gmail, gcal, mail, calendar, rss, discord], ids=lambda one: str(one.id)
)
def test_initialising_writes_the_empty_list(integration: CellIntegration) -> None:
    """Before it there is no list, which is said; after it the list is empty."""
    with cell_access(MemoryCells()):
        with pytest.raises(NotInitialised, match=f"--integration={integration.id} --initialize"):
            integration.fetch_charms()
        integration.initialize()
        assert [] == integration.fetch_charms()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"charms": [1]}, {"charms": [1]}),
        ({"charms": None, "note": "kept"}, {"charms": [], "note": "kept"}),
        (None, {"charms": []}),
        ("garbage", {"charms": []}),
    ],
)
def test_initialising_keeps_a_list_that_is_there(stored: object, expected: object) -> None:
    """Charms that are there already stay, and so does whatever stands beside them."""
    address = CellAddress.of("system", "some cell")
    with cell_access(MemoryCells({address: stored})):
        initialize_cell(address)
        assert expected == read_cell("system", "some cell")


@pytest.mark.parametrize("value", [{}, [], {"charms": "none"}])
def test_cell_without_a_list_is_an_error(value: object) -> None:
    """A damaged cell is not taken for an empty one."""
    cells = MemoryCells({CellAddress.of("system", "gmail-integration-2025-03-17"): value})
    with cell_access(cells), pytest.raises(InvalidInput, match="holds no list"):
        gmail.fetch_charms()


def test_cells_outside_a_scan_say_so() -> None:
    """Reading a cell where nobody provides any is a clear error."""
    with pytest.raises(RuntimeError, match="only while the service runs this integration"):
        read_cell("system", "x")


@pytest.mark.parametrize(
    ("integration", "charm", "valid"),
    [
        (gmail, {"bgUpdater": STREAM, "auth": {"token": ""}}, True),
        (gmail, {"googleUpdater": STREAM, "auth": {"$secret": True}}, True),
        (gmail, {"bgUpdater": STREAM}, False),
        (gmail, {"bgUpdater": STREAM, "auth": None}, False),
        (gmail, {"auth": {"token": ""}, "refresh": STREAM}, False),
        (gcal, {"calendarUpdater": STREAM, "auth": {}}, True),
        (gcal, {"bgUpdater": STREAM, "auth": {}}, False),
        (gcal, {"calendarUpdater": STREAM}, False),
        (mail, {"bgUpdater": STREAM, **MAILBOX}, True),
        (mail, MAILBOX, False),
        (mail, {"bgUpdater": STREAM, **MAILBOX, "password": None}, False),
        (calendar, {"bgUpdater": STREAM, "url": "https://x"}, True),
        (calendar, {"bgUpdater": STREAM}, False),
        (rss, {"bgUpdater": STREAM, "url": "https://x"}, True),
        (rss, {"url": "https://x"}, False),
        (discord, {"discordUpdater": STREAM}, True),
        (discord, {"auth": {}}, False),
        (discord, None, False),
        (discord, [], False),
    ],
)
def test_shipped_checks(integration: CellIntegration, charm: object, valid: bool) -> None:  # noqa: FBT001
    """Google's charms and mail need an updater and credentials, Discord's an updater."""
    assert valid is integration.is_valid_charm(Cell(charm, writable=False))
