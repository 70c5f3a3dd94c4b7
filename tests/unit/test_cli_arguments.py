"""The promises of arguments: how charms, fields, links and JSON are written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.cli.arguments import (
    CharmType,
    DidType,
    FieldType,
    LinkType,
    MomentType,
    SecondsType,
    SpaceType,
    read_json,
    read_moment,
)
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import refer
from bg_charm_service.domain.model import CharmRef

CHARM_ID = refer({})
DEMO = space_did("demo")


def read(kind: click.ParamType[Any], text: str) -> tuple[Result, Any]:
    """Read one argument the way a command does."""
    given: list[Any] = []

    @click.command()
    @click.argument("value", type=kind)
    def command(value: object) -> None:
        given.append(value)

    result = CliRunner().invoke(command, ["--", text])
    return result, given[0] if given else None


@pytest.mark.parametrize("space", [DEMO, "demo"])
def test_a_charm_is_named_by_did_or_by_name(space: str) -> None:
    """The space of SPACE/CHARM may be a DID, or a name, which gives the same DID."""
    assert CharmRef(DEMO, CHARM_ID) == read(CharmType(), f"{space}/{CHARM_ID}")[1]


def test_a_name_with_slashes_names_a_space_too() -> None:
    """Only the last part of SPACE/CHARM is the charm."""
    assert CharmRef(space_did("a/b"), CHARM_ID) == read(CharmType(), f"a/b/{CHARM_ID}")[1]


def test_a_charm_may_be_named_by_its_cause() -> None:
    """What stands for the charm is passed on: the service knows the causes of a space."""
    assert CharmRef(DEMO, "counter") == read(CharmType(), "demo/counter")[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("demo", "is not of the form SPACE/CHARM"),
        ("demo/", "is not of the form SPACE/CHARM"),
        (f"/{CHARM_ID}", "is not of the form SPACE/CHARM"),
        (f"did:key:nobody/{CHARM_ID}", "Invalid space ID: did:key:nobody. Must be a valid DID."),
    ],
)
def test_what_is_no_charm_is_a_usage_error(text: str, reason: str) -> None:
    """A charm that cannot be one is refused before anybody is asked, with exit code 2."""
    result, _ = read(CharmType(), text)
    assert 2 == result.exit_code
    assert reason in " ".join(result.output.split())


def test_a_space_keeps_its_name() -> None:
    """A name is passed on as it was written, so that the service can remember it."""
    assert "demo" == read(SpaceType(), "demo")[1]
    assert 2 == read(SpaceType(), "did:key:nobody")[0].exit_code


def test_a_did_is_a_did() -> None:
    """Somebody who acts is named by a DID, never by a space's name."""
    assert DEMO == read(DidType(), DEMO)[1]
    assert 2 == read(DidType(), "demo")[0].exit_code


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_json_is_read_as_json(value: object) -> None:
    """What JSON can say arrives as it was said."""
    import json

    assert value == read_json(json.dumps(value))


@pytest.mark.parametrize("text", ["abc", "NaN", "{'a': 1}", "", "[" * 100_000])
def test_what_is_not_json_gets_a_hint(text: str) -> None:
    """A text without quotes is the likely mistake, so the refusal shows the quotes."""
    with pytest.raises(ValueError, match="is not JSON; a text needs quotes of its own"):
        read_json(text)


def test_fields_are_set_by_equals() -> None:
    """`--set` splits at the first equals sign; the rest is JSON."""
    assert ("query", "a=b") == read(FieldType(), 'query="a=b"')[1]
    assert 2 == read(FieldType(), "query")[0].exit_code
    assert 2 == read(FieldType(), "query=abc")[0].exit_code


@pytest.mark.parametrize("path", ["", "/auth", "/auth/token"])
def test_links_name_a_cell_and_a_path_in_it(path: str) -> None:
    """A link is passed on as it was written: the service knows names and causes."""
    for charm in (CHARM_ID, "counter"):
        assert ("auth", f"demo/{charm}{path}") == read(LinkType(), f"auth=demo/{charm}{path}")[1]


@pytest.mark.parametrize("text", ["auth", "auth=demo", "auth=demo//x", f"=demo/{CHARM_ID}"])
def test_what_is_no_link_is_a_usage_error(text: str) -> None:
    """A link without a field, or without a charm, is refused."""
    assert 2 == read(LinkType(), text)[0].exit_code


def test_intervals_are_seconds_or_the_default() -> None:
    """An interval is a number above 0; `default` gives it back to the service."""
    assert 2.5 == read(SecondsType(), "2.5")[1]
    assert 0 == read(SecondsType(), "default")[0].exit_code
    assert None is read(SecondsType(), "default")[1]
    assert [2, 2, 2] == [read(SecondsType(), text)[0].exit_code for text in ("0", "-1", "x")]


def test_time_of_day_is_the_next_one() -> None:
    """One that has passed today is tomorrow's, by the clock on the wall there, over changes too."""
    with in_zone("Europe/Oslo"):
        now = datetime(2026, 3, 28, 12, 0, tzinfo=ZoneInfo("Europe/Oslo"))
        later = datetime(2026, 3, 28, 13, 30, tzinfo=ZoneInfo("Europe/Oslo"))
        tomorrow = datetime(2026, 3, 29, 8, 5, tzinfo=ZoneInfo("Europe/Oslo"))
        assert later.timestamp() == read_moment("13:30", now)
        assert tomorrow.timestamp() == read_moment("8:05", now)
        assert read_moment("12:00", now) == tomorrow.replace(hour=12, minute=0).timestamp()


def test_moment_with_an_offset_is_that_moment() -> None:
    """Without one it is this machine's time."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with in_zone("Europe/Oslo"):
        assert read_moment("2030-07-01T10:00+02:00", now) == read_moment("2030-07-01T10:00", now)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "8", "2030-13-01T00:00", "99999-01-01"])
def test_no_moment_is_refused(text: str) -> None:
    """In one line that shows what is meant."""
    with pytest.raises(click.BadParameter, match="is no time such as"):
        MomentType().convert(text, None, None)


@contextmanager
def in_zone(name: str) -> Iterator[None]:
    """Let this machine be elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()
