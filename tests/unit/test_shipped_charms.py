"""What the files of charms say to people: read without running them."""

from __future__ import annotations

import ast

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.service.shipped_charms import (
    AnswerKind,
    ShippedCharm,
    read_charm,
    shipped_charm,
    shipped_charms,
)
from bg_charm_service.workers.runtime.charm_binding import describe
from bg_charm_service.workers.runtime.class_loader import load_class

SOURCE = '''"""Reads a meter. Every hour.

More about it.
"""
from pydantic import BaseModel, Field
from bg_charm_service import Charm, Items, OAuth, Secret

class Reading(BaseModel):
    id: str
    value: float = Field(title="Value")

class Meter(Charm):
    integration = "meters"
    url: str = Field(title="Address", description="of the meter")
    port: int = Field(default=9000, ge=1, title="Port")
    key: Secret[str] = Field(default="", title="Key")
    names: list[str] = Field(default_factory=list, title="Names")
    is_old: bool = Field(default=False, title="Old")
    count: int = Field(default=0)
    auth: OAuth["google", "scope"]
    wanted: Items[str]
    readings: Items[Reading]

    def bg_updater(self, event: dict) -> None:
        raise AssertionError("it was run")
'''


@pytest.fixture
def meter() -> ShippedCharm:
    """What the source above says."""
    charm = read_charm("meter", SOURCE)
    assert charm is not None
    return charm


def test_a_file_says_what_it_is_and_needs(meter: ShippedCharm) -> None:
    """The first paragraph, the label, the fields with a title, sign-ins, and what it brings."""
    assert ("Reads a meter. Every hour.", "meters", "meters") == (
        meter.sentence,
        meter.integration,
        meter.space,
    )
    url, port, key, names, is_old = meter.fields
    assert ("Address, of the meter", True, True) == (url.question, url.is_required, url.is_asked)
    assert (9000, AnswerKind.NUMBER, False) == (port.default, port.kind, port.is_asked)
    assert (True, False, True) == (key.is_secret, key.is_required, key.is_asked)
    assert (AnswerKind.LINES, AnswerKind.FLAG) == (names.kind, is_old.kind)
    assert (("google",), "readings", ("value",), True) == (
        meter.providers,
        meter.result,
        meter.columns,
        meter.is_collection,
    )


def test_answers_are_read_as_their_fields_are(meter: ShippedCharm) -> None:
    """Numbers, lines and yes or no; a secret keeps its blanks."""
    url, port, key, names, is_old = meter.fields
    assert ("http://m", 80, " k ", ["a", "b c"], True) == (
        url.read(" http://m "),
        port.read("80"),
        key.read(" k "),
        names.read("a\n\n b c \n"),
        is_old.read("yes"),
    )
    with pytest.raises(InvalidInput, match="Port: this is not a whole number"):
        port.read("many")


def test_ports_are_opened_that_nobody_has(meter: ShippedCharm) -> None:
    """Those of a field `port`, or of addresses; what everybody may is not asked for."""
    assert "53,9000" == meter.network({})
    rss, mail = shipped_charm("rss"), shipped_charm("mail_importer.py")
    assert None is rss.network({"url": "https://a.example/feed"})
    assert None is rss.network({"url": "http://a.example:80/feed"})
    assert "53,80,443,8080" == rss.network({"url": "http://[::1]:8080/feed"})
    assert None is rss.network({"url": "http://a.example:many/feed"})
    assert {"host": "a.example", "port": 143} == mail.completed({"host": "a.example:143"})
    assert {"host": "::1"} == mail.completed({"host": "::1"})
    assert {"host": "::1", "port": 143} == mail.completed({"host": "[::1]:143"})


def test_a_file_without_a_poll_is_none_to_add() -> None:
    """The admin charm is added by its own command."""
    assert None is read_charm("admin", "from bg_charm_service import Charm\nclass A(Charm): pass\n")
    assert "admin" not in [one.name for one in shipped_charms()]
    with pytest.raises(InvalidInput, match=r"No charm admin ships.*rss"):
        shipped_charm("admin")


@pytest.mark.parametrize("name", [one.name for one in shipped_charms()])
def test_what_ships_can_be_added_by_anybody(name: str) -> None:
    """Each has one sentence, and asks for every field that has to be given."""
    shipped = shipped_charm(name)
    schema = describe(load_class(shipped.source, shipped.file_name))
    needed = {
        one.name
        for one in schema.fields
        if one.default is None and one.kind in (FieldKind.VALUE, FieldKind.SECRET)
    }
    asked = {one.name: one for one in shipped.fields}
    assert needed == {name for name, one in asked.items() if one.is_required}
    assert {one.name for one in schema.fields if one.kind is FieldKind.SECRET} >= {
        name for name, one in asked.items() if one.is_secret
    }
    assert 20 < len(shipped.sentence) < 200
    assert ast.get_docstring(ast.parse(shipped.source))
