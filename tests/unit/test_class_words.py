"""Names of a class win over the service's own, whatever `Charm` is given later; it is told so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from bg_charm_service.domain.class_words import METHOD_WORDS, VALUE_WORDS, told_of_names
from bg_charm_service.domain.errors import CompilerError
from bg_charm_service.sdk.charm import Charm, CharmContext, class_schema
from bg_charm_service.sdk.snapshot import MemorySnapshot
from bg_charm_service.workers.runtime.charm_binding import (
    bind,
    changes,
    describe,
    handler,
    load_class,
    names_used,
)

#: Every name that an author can use and that is the service's too: of `Charm`, whatever it has.
PUBLIC = tuple(name for name in dir(Charm) if not name.startswith("_"))
NAMES = tuple(dict.fromkeys([*PUBLIC, *VALUE_WORDS, *METHOD_WORDS]))


def load(body: str) -> type[Charm]:
    """Make a charm class with an updater and this body."""
    lines = ["from bg_charm_service import Charm", "class Mine(Charm):", *body.splitlines()]
    updater = "async def bg_updater(self, event): pass"
    return load_class("\n    ".join([*lines, updater]).replace("\n    class", "\nclass"), "mine.py")


def test_charm_has_a_public_name() -> None:
    """The tests below try something."""
    assert "context" in PUBLIC


@pytest.mark.parametrize("name", NAMES)
def test_a_field_of_that_name_is_a_field(name: str) -> None:
    """It is read, written and compared as any other, with and without a default."""
    for body, stored in [(f"{name}: int = 5", {}), (f"{name}: int", {name: b"5"})]:
        cls = load(f"{body}\ndef add(self, event): self.{name} += event")
        assert [field.name for field in describe(cls).fields] == [name]
        charm = bind(cls, MemorySnapshot(stored), CharmContext())
        handler(charm, "add")(2)
        assert changes(charm).writes == {name: b"7"}
        assert getattr(cls(**{name: 3}), name) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_method_of_that_name_still_runs_when_it_is_sent_to(name: str) -> None:
    """What was a stream when a charm was added can be sent to for ever."""
    cls = load(f"ran: str = ''\ndef {name}(self, event): self.ran = event")
    charm = bind(cls, MemorySnapshot(), CharmContext())
    first, *rest = name.split("_")
    outside = first + "".join(word.title() for word in rest)
    handler(charm, outside)("sent")
    assert changes(charm).writes == {"ran": b'"sent"'}
    is_word = name in VALUE_WORDS or name in METHOD_WORDS
    assert (outside in describe(cls).streams) != is_word
    assert names_used(cls)[2] == ((outside,) if is_word else ())


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_of_that_name_is_read_as_it_is(name: str) -> None:
    """By its own code, and told to the service where it is a word."""
    cls = load(f"{name} = 'mine'\nseen: str = ''\ndef look(self, event): self.seen = self.{name}")
    charm = bind(cls, MemorySnapshot(), CharmContext())
    handler(charm, "look")(None)
    assert changes(charm).writes == {"seen": b'"mine"'}
    said, hidden, _ = names_used(cls)
    assert said == ({name: "mine"} if name in VALUE_WORDS else {})
    assert hidden == ((name,) if name in PUBLIC else ())


def test_names_of_a_mixin_and_of_a_parent_are_its_own_too() -> None:
    """Whatever stands between the class and `Charm`."""
    cls = load_class(
        "\n".join(
            [
                "from bg_charm_service import Charm",
                "class _Base(Charm):",
                "    context: int = 1",
                "class _Mixin:",
                "    cron = '@daily'",
                "    every = 5",
                "class Mine(_Mixin, _Base):",
                "    every: int = 2",
                "    async def bg_updater(self, event): self.context += self.every",
            ]
        ),
        "mine.py",
    )
    assert names_used(cls) == ({"cron": "@daily"}, ("context",), ())
    assert set(class_schema(cls).fields) == {"context", "every"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("'5m'", "5m"),
        ("300", 300),
        ("2.5", 2.5),
        ("True", True),
        ("None", None),
        ("__import__('datetime').timedelta(minutes=5)", timedelta(minutes=5).total_seconds()),
        ("[1, 2]", "[1, 2]"),
        ("b'5m'", "b'5m'"),
        ("type('S', (str,), {})('5m')", "'5m'"),
        ("'x' * 5", "xxxxx"),
        ("property(lambda self: 5)", None),
        ("lambda self: 5", None),
        ("type('Bad', (), {'__repr__': lambda self: 1 / 0})()", "a Bad"),
        ("list(range(1000))", f"{list(range(1000))!r:.80}"),
    ],
)
def test_a_word_is_told_as_it_stands_there(written: str, said: object) -> None:
    """As a scalar that can cross to the service; what it means is not decided where charms run."""
    told = names_used(load(f"every = {written}"))[0]
    assert told == ({} if said is None else {"every": said})
    assert msgspec.json.decode(msgspec.json.encode(told)) == told


def test_limits_and_network_stay_words_only() -> None:
    """No charm was ever added that has a field or a stream of these names."""
    for body in ("limits: int = 1", "def network(self, event): pass"):
        with pytest.raises(CompilerError, match="this name is the service's own"):
            load(body)


def test_what_is_told_of_names() -> None:
    """A sentence for each, with what to do."""
    told: Any = told_of_names({"every", "other"}, ("again",), ("migrate",))
    assert [text.split("'")[1] for text in told] == ["again", "every", "migrate"]
    assert "self.again is what its class makes of it" in told[0]
    assert "`every = ...`" in told[1]
    assert "is no stream" in told[2]
    assert told_of_names({"other"}, (), ()) == []
