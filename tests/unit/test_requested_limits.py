"""Promises of what a charm class asks for: read from two attributes, kept in its description."""

from __future__ import annotations

import textwrap

import msgspec
import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.limits import (
    LimitChanges,
    Limits,
    check_changes,
    read_changes,
    write_limits,
)
from bg_charm_service.domain.model import CharmSchema
from bg_charm_service.workers.runtime.charm_binding import describe, load_class


def asks_of(body: str, header: str = "class Mine(Charm):") -> LimitChanges:
    """What the class of this body asks for."""
    lines = "from bg_charm_service import Charm\n" + textwrap.dedent(header) + "\n"
    lines += textwrap.indent(textwrap.dedent(body), "    ")
    return describe(load_class(lines + "\n    def bg_updater(self, event): ...\n", "mine.py")).asks


def test_limits_are_read_as_settings_are() -> None:
    """Each limit is a number, or a text with the suffixes of the settings."""
    asks = asks_of(
        """
        limits = {"timeout": 5, "cpu": 2.5, "memory": "64M", "files": 32, "threads": "8",
                  "log": 2048, "state": "1M", "scratch": "4k"}
        """
    )

    assert asks == LimitChanges(
        timeout_seconds=5.0,
        cpu_seconds=2.5,
        memory_bytes=64 * 1024**2,
        open_files=32,
        threads=8,
        log_bytes=2048,
        state_bytes=1024**2,
        scratch_bytes=4096,
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", None),
        ("network = True", None),
        ("network = False", ()),
        ("network = ()", ()),
        ("network = (5432, 443)", (53, 443, 5432)),
        ("network = [443]", (53, 443)),
    ],
)
def test_network_is_nothing_everything_or_ports(
    body: str, expected: tuple[int, ...] | None
) -> None:
    """Where ports are asked for, that of names is among them."""
    assert asks_of(body).ports == expected


def test_what_a_base_class_asks_for_is_inherited() -> None:
    """A subclass asks for what its base does, unless it says otherwise."""
    header = """
        class _Base(Charm):
            limits = {"timeout": 3}
            network = False

        class Mine(_Base):"""
    assert asks_of("network = (443,)", header) == LimitChanges(timeout_seconds=3.0, ports=(53, 443))


def test_an_attribute_of_these_names_is_neither_field_nor_stream() -> None:
    """What a class asks for shows nowhere among what it stores or does."""
    schema = describe(
        load_class(
            "from bg_charm_service import Charm\n"
            "class Mine(Charm):\n"
            "    network = False\n"
            "    limits = {}\n"
            "    def bg_updater(self, event): ...\n",
            "mine.py",
        )
    )

    assert (schema.fields, schema.streams) == ((), ("bgUpdater",))


def test_schemas_that_were_stored_before_ask_for_nothing() -> None:
    """A description without this member is read as one of a class that asks for nothing."""
    stored = b'{"class_name":"A","name":"A","doc":"","fields":[],"streams":["bgUpdater"]}'

    assert msgspec.json.decode(stored, type=CharmSchema).asks == LimitChanges()


def test_a_stored_schema_keeps_what_is_asked() -> None:
    """What is asked survives the form in which descriptions are stored."""
    asks = LimitChanges(timeout_seconds=1.5, ports=())
    schema = CharmSchema("A", "A", "", (), ("bgUpdater",), asks)

    assert msgspec.json.decode(msgspec.json.encode(schema), type=CharmSchema).asks == asks


def test_limits_are_written_the_way_they_are_read() -> None:
    """What is shown can be given back as it is."""
    limits = Limits(timeout_seconds=1234.125, ports=())
    written = write_limits(limits)

    assert "1234.125" == written["timeout"]
    assert "deny" == written["network"]
    assert limits == Limits().overridden(read_changes(written))


@pytest.mark.parametrize(
    "forged",
    [
        LimitChanges(memory_bytes=-1),
        LimitChanges(open_files=0),
        LimitChanges(timeout_seconds=float("nan")),
        LimitChanges(cpu_seconds=float("inf")),
        LimitChanges(timeout_seconds=-1.0),
        LimitChanges(ports=(0,)),
    ],
)
def test_limits_that_nobody_can_have_written_are_refused(forged: LimitChanges) -> None:
    """A worker that made a description up gets nowhere with it."""
    with pytest.raises(InvalidInput):
        check_changes(forged)
