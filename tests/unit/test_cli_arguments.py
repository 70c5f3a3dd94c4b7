"""The promises of arguments: how charms, fields, links and JSON are written."""

from __future__ import annotations

from typing import Any

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
    SecondsType,
    SpaceType,
    read_json,
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
    """A link's space is replaced by its DID; the path stays."""
    expected = ("auth", f"{DEMO}/{CHARM_ID}{path}")
    assert expected == read(LinkType(), f"auth=demo/{CHARM_ID}{path}")[1]


@pytest.mark.parametrize("text", ["auth", "auth=demo", "auth=demo/counter", f"=demo/{CHARM_ID}"])
def test_what_is_no_link_is_a_usage_error(text: str) -> None:
    """A link without a charm's full id is refused."""
    assert 2 == read(LinkType(), text)[0].exit_code


def test_intervals_are_seconds_or_the_default() -> None:
    """An interval is a number above 0; `default` gives it back to the service."""
    assert 2.5 == read(SecondsType(), "2.5")[1]
    assert 0 == read(SecondsType(), "default")[0].exit_code
    assert None is read(SecondsType(), "default")[1]
    assert [2, 2, 2] == [read(SecondsType(), text)[0].exit_code for text in ("0", "-1", "x")]
