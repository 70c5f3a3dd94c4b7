"""From source text to a charm class, and the traceback that its author sees."""

from __future__ import annotations

import asyncio
import sys
from textwrap import dedent
from typing import Any

import pytest

from bg_charm_service.domain.errors import CompilerError, StateError
from bg_charm_service.sdk.charm import CharmContext
from bg_charm_service.workers.runtime.charm_binding import (
    MemorySnapshot,
    author_traceback,
    bind,
    describe,
    handler,
    load_class,
)

HEADER = "from bg_charm_service import Cell, Charm, Secret, Stream\n"
HANDLER = "    def bg_updater(self, event): pass\n"


def load(text: str, class_name: str | None = None) -> type[Any]:
    """Load a source as `mine.py`."""
    return load_class(dedent(text), "mine.py", class_name)


def load_fields(fields: str) -> type[Any]:
    """Load a charm with these fields, the first of them on line 3."""
    body = "".join(f"    {line}\n" for line in dedent(fields).splitlines())
    return load_class(f"{HEADER}class Mine(Charm):\n{body}{HANDLER}", "mine.py")


def traceback_of(source: str, event: object = None) -> str:
    """Run the handler of a charm that fails, and give its traceback."""
    charm = bind(load(source), MemorySnapshot(), CharmContext())

    async def run() -> None:
        result = handler(charm, "bgUpdater")(event)
        if result is not None:
            await result

    try:
        asyncio.run(run())
    except Exception as error:
        return author_traceback(error, "mine.py")
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ny = (\n", r"mine\.py:2: SyntaxError: '\(' was never closed"),
        ("x = 1\n  y = 2\n", r"mine\.py:2: SyntaxError: unexpected indent"),
        ("x = '\0'", r"mine\.py:1: SyntaxError: .*null bytes"),
        ("x = '\ud800'", r"mine\.py:1: UnicodeEncodeError"),
        ("\nimport no_such_thing\n", r"mine\.py:2: ModuleNotFoundError: .*no_such_thing"),
        ("from os import no_such_name\n", r"mine\.py:1: ImportError: .*no_such_name"),
        ("\n\n1 / 0\n", r"mine\.py:3: ZeroDivisionError: division by zero"),
        ("def f():\n    raise OSError\n\nf()\n", r"mine\.py:2: OSError$"),
        ("import sys\nsys.exit(3)\n", r"mine\.py:2: SystemExit: 3"),
        ("x = 1\n", r"mine\.py:1: no charm here: a charm is a class with Charm as its base"),
        (HEADER, r"mine\.py:1: no charm here"),
        ("(" * 1000 + ")" * 1000, r"mine\.py:1: "),
    ],
)
def test_unusable_source_names_file_and_line(source: str, expected: str) -> None:
    """Whatever is wrong with a source is one CompilerError with file, line and reason."""
    with pytest.raises(CompilerError, match=rf"\A{expected}"):
        load_class(source, "mine.py")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("a: int = 'x'", r"3: Mine.a: its default does not fit int: a: Input should be .*integer"),
        ("a: str = None", r"3: Mine.a: its default does not fit str: .* \(write `\| None`"),
        ("a: float = float('nan')", r"3: Mine.a: its default does not fit float: .*NaN"),
        ("a: dict = {'x': object()}", r"3: Mine.a: its default does not fit dict"),
        ("x: int = 1\na: 'Nothing' = 1", r"4: Mine.a: its annotation cannot be read: NameError"),
        ("import threading\na: threading.Lock", r"4: Mine.a: .*lock"),
        ("from typing import Callable\na: Callable[[], int]", r"4: Mine.a: functions and classes"),
        ("a: list[type[int]]", r"3: Mine.a: functions and classes cannot be stored"),
        (
            "from pydantic import Field\na: int = Field(0, gt=0)",
            r"4: Mine.a: its default does not fit int: a: Input should be greater than 0",
        ),
        (
            "from pydantic import Field\na: int = Field(default_factory=lambda: 1 / 0)",
            r"4: ZeroDivisionError",
        ),
        ("from pydantic import Field\na: int = Field(0, alias='b')", r"4: Mine.a: .*alias"),
        ("a: list[Cell[int]]", r"3: Mine.a: Cell and Stream are whole fields"),
        ("a: list[Secret[str]]", r"3: Mine.a: Secret covers a whole field"),
        ("from pydantic import SecretStr\na: SecretStr", r"4: Mine.a: .*use bg_charm_service.S"),
        ("a: Cell[int] = 1", r"3: Mine.a: a link has no default"),
        ("a: Cell[int] = None", r"3: Mine.a: a link has no default, except None after"),
        ("a: Stream = None", r"3: Mine.a: a link has no default"),
        ("network: bool = True", r"3: Mine.network: this name is the service's own"),
        ("limits: dict = {}", r"3: Mine.limits: this name is the service's own: write it without"),
        ("def limits(self, event): pass", r"3: Mine.limits: this name is the service's own"),
        ("def network(self): pass", r"3: Mine.network: this name is the service's own"),
        ("limits = 5", r"3: Mine.limits: expected a dict such as .*, not 5"),
        ("limits = {5: 5}", r"3: Mine.limits: expected a dict such as"),
        ("a: int = 1\nlimits = {'tmeout': 5}", r"4: Mine.limits: There is no limit 'tmeout'; ther"),
        ("limits = {'timeout': 0}", r"3: Mine.limits: timeout: expected a number of seconds"),
        ("limits = {'timeout': True}", r"3: Mine.limits: timeout: expected a number or a text"),
        ("limits = {'timeout': None}", r"3: Mine.limits: None is no limit: leave the name out"),
        ("limits = {'memory': '1M'}", r"3: Mine.limits: memory: expected a size .* from 32M"),
        ("limits = {'files': 2.5}", r"3: Mine.limits: files: expected a whole number"),
        ("limits = {'network': 443}", r"3: Mine.limits: ports are an attribute of their own"),
        (
            "network = 443",
            r"3: Mine.network: expected False, or a tuple of ports such as .*not 443",
        ),
        ("network = ('443',)", r"3: Mine.network: .*; a port is a number"),
        ("network = (True,)", r"3: Mine.network: .*; a port is a number"),
        ("network = (70000,)", r"3: Mine.network: expected ports from 1 to 65535"),
        ("bg_updater: int = 1", r"4: Mine.bg_updater: is both a field and the stream bgUpdater"),
        ("bgUpdater: int = 1", r"3: Mine.bgUpdater: is both a field and the stream bgUpdater"),
        ("def bgUpdater(self, event): pass", r"4: Mine.bg_updater: bgUpdater is the stream"),
        ("def __init__(self): pass", r"3: Mine.__init__: a charm cannot define this"),
        ("def __new__(cls): pass", r"3: Mine.__new__: a charm cannot define this"),
        ("def __setattr__(self, n, v): pass", r"3: Mine.__setattr__: a charm cannot define this"),
        ("def updater(self): pass", r"3: Mine.updater: a handler takes \(self, event\)"),
        ("async def updater(self, event): yield", r"3: Mine.updater: .* cannot contain `yield`"),
    ],
)
def test_unusable_declaration_names_the_member(fields: str, expected: str) -> None:
    """A class body that cannot work is refused with the line and name of its member."""
    with pytest.raises(CompilerError, match=rf"\Amine\.py:{expected}"):
        load_fields(fields)


def test_missing_handler_shows_how_to_define_one() -> None:
    """A charm without any stream is refused at its class line."""
    with pytest.raises(CompilerError, match=r"mine\.py:2: Mine has no handler: define `async def"):
        load(f"{HEADER}class Mine(Charm):\n    a: int = 1\n    def _help(self, event): pass\n")


def test_failed_source_leaves_nothing_behind() -> None:
    """A source that fails is not kept as a module."""
    before = set(sys.modules)
    with pytest.raises(CompilerError):
        load("1 / 0")

    assert before == set(sys.modules)


def test_several_charms_need_a_name() -> None:
    """Of several classes one is named; private ones do not count."""
    both = f"{HEADER}class One(Charm):\n{HANDLER}class Two(Charm):\n{HANDLER}"
    with pytest.raises(CompilerError, match=r"mine\.py:4: several charms \(One, Two\)"):
        load(both)
    with pytest.raises(CompilerError, match=r"no charm class Three; there is One, Two"):
        load(both, "Three")

    assert load(both, "Two").__name__ == "Two"
    assert load(f"{HEADER}class _One(Charm):\n{HANDLER}class Two(_One): pass\n").__name__ == "Two"


def test_imported_charm_is_not_taken_for_the_files_own() -> None:
    """Only classes that the file itself defines count."""
    other = load(f"{HEADER}class Other(Charm):\n{HANDLER}")
    sys.modules["other_charm_for_test"] = sys.modules[other.__module__]
    try:
        cls = load("from other_charm_for_test import Other\nclass Mine(Other): pass\n")
    finally:
        del sys.modules["other_charm_for_test"]

    assert (cls.__name__, describe(cls).streams) == ("Mine", ("bgUpdater",))


def test_every_way_to_write_annotations_works() -> None:
    """Future annotations, forward references, dataclasses and models of the file resolve."""
    cls = load(
        """
        from __future__ import annotations
        from dataclasses import dataclass, field
        from typing import ClassVar, Final, Optional
        from pydantic import BaseModel
        from bg_charm_service import Charm

        class Mine(Charm):
            network: ClassVar[bool] = False
            size: Final = 3
            tree: Tree = {"name": "root"}
            point: "Optional[Point]" = None
            def bg_updater(self, event: dict) -> None: ...

        class Tree(BaseModel):
            name: str
            children: list[Tree] = []

        @dataclass
        class Point:
            x: int = 0
            tags: list[str] = field(default_factory=list)
        """
    )

    assert [(one.name, one.default) for one in describe(cls).fields] == [
        ("tree", b'{"name":"root","children":[]}'),
        ("point", b"null"),
    ]
    assert cls(tree={"name": "a", "children": [{"name": "b"}]}).tree.children[0].name == "b"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a syntax of Python 3.12")
def test_types_have_names() -> None:
    """Aliases and generic classes of the file are types of fields, a recursive one too."""
    cls = load(
        f"""
        from pydantic import BaseModel
        {HEADER}
        type Id = int
        type Tree = dict[str, Tree] | Id

        class Box[T](BaseModel):
            content: T

        class Mine(Charm):
            id: Id = 1
            tree: Tree = {{}}
            box: Box[Id] | None = None
            def bg_updater(self, event: dict) -> None: ...
        """
    )

    assert ["id", "tree", "box"] == [one.name for one in describe(cls).fields]
    assert {"a": {"b": 1}} == cls(tree={"a": {"b": 1}}).tree
    with pytest.raises(StateError):
        _ = cls(tree={"a": "b"}).tree


@pytest.mark.skipif(sys.version_info < (3, 14), reason="a meaning that they have from 3.14 on")
def test_annotations_that_nobody_has_evaluated() -> None:
    """A name may come later in the file, or for type checkers only where no field needs it."""
    cls = load(
        f"""
        from typing import TYPE_CHECKING
        from pydantic import BaseModel
        {HEADER}
        if TYPE_CHECKING:
            from elsewhere import Event

        class Mine(Charm):
            tree: Tree | None = None
            _last: Event | None = None
            def bg_updater(self, event: Event, *, again: Event | None = None) -> None: ...

        class Tree(BaseModel):
            children: list[Tree] = []
        """
    )

    assert (["tree"], ("bgUpdater",)) == (
        [one.name for one in describe(cls).fields],
        describe(cls).streams,
    )
    assert [] == cls(tree={"children": []}).tree.children


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before, the line itself fails")
@pytest.mark.parametrize("annotation", ["Nothing", "list[Nothing]", "Nothing | None"])
def test_an_annotation_that_cannot_be_evaluated_is_told_of_its_field(annotation: str) -> None:
    """The error is that of the field, with its line, however far inside the name is."""
    expected = r"mine\.py:4: Mine.a: its annotation cannot be read: NameError: .*'Nothing'"
    with pytest.raises(CompilerError, match=expected):
        load_fields(f"x: int = 1\na: {annotation} = None")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="a syntax of Python 3.14")
def test_templates_run() -> None:
    """A charm may use the newest syntax of the Python that the service runs on."""
    cls = load(
        f"""
        {HEADER}
        class Mine(Charm):
            parts: list[str] = []
            def bg_updater(self, event: dict) -> None:
                self.parts = list(t"a {{event['x']}} b".strings)
        """
    )
    charm = cls()
    charm.bg_updater({"x": 1})
    assert ["a ", " b"] == charm.parts


def test_mixins_bring_fields_and_streams() -> None:
    """Plain classes and charms alike give what they declare to their subclass."""
    cls = load(
        f"""
        {HEADER}
        class Named:
            name: str = "x"
            def rename(self, event): self.name = event

        class _Base(Charm):
            count: int = 0
            def bg_updater(self, event): self.count += 1

        class Mine(Named, _Base):
            count: int = 5
        """
    )
    schema = describe(cls)

    assert {one.name: one.default for one in schema.fields} == {"name": b'"x"', "count": b"5"}
    assert set(schema.streams) == {"rename", "bgUpdater"}


def test_streams_are_the_public_methods_with_an_event() -> None:
    """Helpers, properties, static and class methods are no streams; names turn to camelCase."""
    cls = load_fields(
        """
        def add_item(self, event): pass
        async def google_updater(self, event=None): pass
        def _helper(self, event): pass
        def two(self, a, b): pass
        def none(self): pass
        @staticmethod
        def fixed(event): pass
        @classmethod
        def made(cls, event): pass
        @property
        def shown(self): pass
        """
    )

    assert set(describe(cls).streams) == {"addItem", "googleUpdater", "bgUpdater"}


def test_reloading_gives_a_class_of_its_own() -> None:
    """Loading the same source twice gives two independent classes."""
    source = f"{HEADER}class Mine(Charm):\n    shared = []\n{HANDLER}"

    first, second = load(source), load(source)
    first.shared.append(1)

    assert second.shared == []


def test_byte_order_mark_is_accepted() -> None:
    """A file that an editor saved with a byte order mark loads."""
    assert load(f"\ufeff{HEADER}class Mine(Charm):\n{HANDLER}").__name__ == "Mine"


FAILING = f"""
{HEADER}
import json

class Mine(Charm):
    async def bg_updater(self, event):
        self._parse("{{")

    def _parse(self, text):
        return json.loads(text)
"""


def test_traceback_begins_in_the_authors_file() -> None:
    """The traceback starts at the handler, shows source lines, and goes on into libraries."""
    text = traceback_of(FAILING)

    lines = text.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert 'File "mine.py", line 8, in bg_updater' in lines[1]
    assert lines[2].strip() == 'self._parse("{")'
    assert "json" in text
    assert lines[-1].startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert "asyncio" not in text
    assert "test_loading" not in text


def test_traceback_leaves_out_the_service() -> None:
    """An error that the service raises points at the author's line, not into the service."""
    text = traceback_of(
        f"{HEADER}class Mine(Charm):\n    a: int\n    def bg_updater(self, _):\n        self.a\n"
    )

    assert 'File "mine.py", line 5, in bg_updater' in text
    assert "links.py" not in text
    assert text.endswith("StateError: a: it has no value, and no default")


def test_traceback_keeps_causes_and_groups() -> None:
    """Chained exceptions and exception groups are shown, each without foreign frames in front."""
    text = traceback_of(
        f"""
        import asyncio
        {HEADER}
        class Mine(Charm):
            async def bg_updater(self, event):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._one())

            async def _one(self):
                try:
                    {{}}["missing"]
                except KeyError as error:
                    raise RuntimeError("broken") from error
        """
    )

    assert "ExceptionGroup" in text
    assert "KeyError: 'missing'" in text
    assert "The above exception was the direct cause" in text
    assert "line 12, in _one" in text


def test_traceback_of_the_newest_file_of_a_name() -> None:
    """Two charms of the same file name each show their own lines."""
    first = load(f"{HEADER}class Mine(Charm):\n    def bg_updater(self, event): first_line()\n")
    load(f"{HEADER}class Mine(Charm):\n    def bg_updater(self, event): second_line()\n")
    charm = bind(first, MemorySnapshot(), CharmContext())

    with pytest.raises(NameError) as caught:
        handler(charm, "bgUpdater")({})

    assert "first_line()" in author_traceback(caught.value, "mine.py")
    assert "second_line()" not in author_traceback(caught.value, "mine.py")


def test_huge_traceback_is_shortened() -> None:
    """A message of any size leaves a traceback that can be kept: its start and its end."""
    source = f"""
    {HEADER}
    class Mine(Charm):
        def bg_updater(self, event): raise ValueError("a" * 1_000_000 + "the end")
    """
    text = traceback_of(source)

    assert len(text) < 40_000
    assert text.startswith("Traceback")
    assert "characters left out" in text
    assert text.endswith("the end")


def test_endless_recursion_has_a_short_traceback() -> None:
    """Repeated frames are folded."""
    text = traceback_of(
        f"{HEADER}class Mine(Charm):\n    def bg_updater(self, event): self.bg_updater(event)\n"
    )

    assert "Previous line repeated" in text
    assert text.endswith("RecursionError: maximum recursion depth exceeded")
