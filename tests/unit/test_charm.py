"""Charm as its authors use it: fields, assignments, and testing a charm by hand."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field

from bg_charm_service import Cell, Charm, CharmContext, Secret, Stream
from bg_charm_service.domain.errors import StateError


class Settings(BaseModel):
    """A model in a field."""

    limit: int = 10
    names: list[str] = Field(default_factory=list)


class Mail(Charm):
    """Has a field of every kind."""

    URL = "https://example.org"
    pages: ClassVar[int] = 7
    _shared = "x"

    address: str
    counter: int = 0
    seen: list[str] = []  # noqa: RUF012
    settings: Settings = Settings()
    since: datetime | None = None
    token: Secret[str] = ""
    auth: Cell[dict[str, Any]] | None = None
    out: Stream | None = None

    async def bg_updater(self, event: dict[str, Any]) -> None:
        """Count, and remember what was sent."""
        self.counter += 1
        self.seen.append(str(event))
        if self.auth is not None:
            self.auth.update({"used": self.counter})
        if self.out is not None:
            self.out.send({"counter": self.counter})


def test_made_by_hand_it_can_be_tested() -> None:
    """A charm made with values runs its handler without a service."""
    auth: Cell[dict[str, Any]] = Cell({"token": "t"})
    out = Stream()
    charm = Mail(address="a@b", counter=2, auth=auth, out=out)

    asyncio.run(charm.bg_updater({}))

    assert charm.counter == 3
    assert charm.seen == ["{}"]
    assert auth.get() == {"token": "t", "used": 3}
    assert out.sent == [{"counter": 3}]


def test_defaults_are_never_shared() -> None:
    """A mutable default belongs to one charm only."""
    first, second = Mail(address="a"), Mail(address="b")
    first.seen.append("x")
    first.settings.names.append("y")

    assert second.seen == []
    assert second.settings.names == []


def test_field_without_value_says_so() -> None:
    """Reading a required field that has no value names the field."""
    with pytest.raises(StateError, match="address: it has no value"):
        Mail().address  # type: ignore[call-arg]  # noqa: B018


def test_typo_in_an_assignment_is_an_error() -> None:
    """Assigning an undeclared name raises and suggests the right one."""
    charm: Any = Mail(address="a")

    with pytest.raises(AttributeError, match="Mail has no field 'countr': did you mean 'counter'"):
        charm.countr = 1


def test_forgotten_annotation_is_explained() -> None:
    """Assigning to a plain class attribute says how to make it a field."""
    charm = Mail(address="a")

    with pytest.raises(AttributeError, match="URL is a constant of Mail, not a field"):
        charm.URL = "https://example.com"


def test_handler_cannot_be_assigned() -> None:
    """The name of a method is not a field."""
    charm: Any = Mail(address="a")

    with pytest.raises(AttributeError, match="no field 'bg_updater'"):
        charm.bg_updater = None


def test_context_cannot_be_assigned() -> None:
    """What a run is told about itself stays as it is."""
    charm: Any = Mail(address="a")

    with pytest.raises(AttributeError, match="no field 'context'"):
        charm.context = None
    with pytest.raises(AttributeError):
        charm.context.attempt = 3


def test_underscore_names_are_scratch() -> None:
    """Names that begin with _ can be assigned, read and deleted freely."""
    charm: Any = Mail(address="a")
    charm._cache = {"x": 1}
    assert charm._cache == {"x": 1}
    del charm._cache

    assert not hasattr(charm, "_cache")


def test_fields_cannot_be_deleted() -> None:
    """Deleting a field is refused."""
    charm: Any = Mail(address="a")

    with pytest.raises(AttributeError, match="counter cannot be deleted"):
        del charm.counter


def test_links_cannot_be_assigned() -> None:
    """A link is a right that a person gives: the charm cannot make one."""
    charm: Any = Mail(address="a")

    with pytest.raises(AttributeError, match=r"auth is a link: write with self\.auth\.set"):
        charm.auth = Cell({})
    with pytest.raises(AttributeError, match=r"out is a link: send with self\.out\.send"):
        charm.out = Stream()


def test_values_given_by_hand_are_checked() -> None:
    """Making a charm checks names and types like the service does."""
    with pytest.raises(TypeError, match="no field 'adress': did you mean 'address'"):
        Mail(adress="a")  # type: ignore[call-arg]
    with pytest.raises(StateError, match="counter: Input should be a valid integer"):
        Mail(address="a", counter="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="auth is a link"):
        Mail(address="a", auth={})  # type: ignore[arg-type]


def test_class_attributes_are_constants() -> None:
    """ClassVar and plain class attributes are read as usual and are no fields."""
    assert (Mail.pages, Mail(address="a").URL) == (7, "https://example.org")
    with pytest.raises(TypeError, match="pages is a constant of Mail"):
        Mail(address="a", pages=8)  # type: ignore[call-arg]


def test_field_on_the_class_is_explained() -> None:
    """Reading a field from the class says to read it from self."""
    Mail(address="a")

    with pytest.raises(AttributeError, match=r"counter is a field of Mail: read it as self\."):
        Mail.counter  # noqa: B018


def test_rich_types_keep_their_type() -> None:
    """Models and datetimes come back as what they were."""
    charm = Mail(address="a", settings=Settings(limit=3), since=datetime(2025, 1, 1, tzinfo=UTC))

    assert charm.settings == Settings(limit=3)
    assert charm.since == datetime(2025, 1, 1, tzinfo=UTC)


def test_context_has_defaults_for_tests() -> None:
    """A charm made by hand has a context of its own."""
    assert Mail(address="a").context == CharmContext()
    context = Mail(address="a").context
    assert context.scratch.is_dir()
    assert (context.scheduled_at, context.previous) == (None, None)
    assert (context.seconds_left, context.room) == (30.0, 16 * 1024 * 1024)


def test_subclass_inherits_and_overrides() -> None:
    """Fields, defaults and constraints are inherited; a subclass may give a new default."""

    class Special(Mail):
        counter: int = 100
        extra: bool = True

    assert (Special(address="a").counter, Special(address="a").extra) == (100, True)
    assert Special(address="a").seen == []
    assert Mail(address="a").counter == 0


def test_importing_the_package_is_cheap() -> None:
    """`import bg_charm_service` loads none of the libraries behind its names."""
    code = (
        "import sys, bg_charm_service\n"
        "heavy = {'pydantic', 'cryptography', 'fastapi', 'httpx2', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from bg_charm_service import Charm, Cell, Stream, Secret, CharmContext\n"
        "assert set(bg_charm_service.__all__) <= set(dir(bg_charm_service))\n"
        "assert bg_charm_service.__version__\n"
    )
    folder = Path(__file__).parents[2]

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )

    assert result.stderr == ""


def test_package_has_only_its_names() -> None:
    """A name that the package does not have is an AttributeError as usual."""
    import bg_charm_service

    with pytest.raises(AttributeError, match="has no attribute 'Charn'"):
        bg_charm_service.Charn  # noqa: B018


SAMPLE = '''
from typing import Any

from pydantic import BaseModel, Field

from bg_charm_service import Cell, Charm, Secret, Stream


class Auth(BaseModel):
    token: str = ""


class Sample(Charm):
    """Uses every part of the author's API."""

    name: str
    counter: int = 0
    seen: list[str] = []
    limit: int = Field(default=5, gt=0)
    token: Secret[str] = ""
    auth: Cell[Auth]
    archive: Cell[list[str]] | None = None
    out: Stream | None = None

    async def bg_updater(self, event: dict[str, Any]) -> None:
        self.counter += event.get("delta", 1)
        self._scratch = self.token.upper() + self.auth.get().token
        self.auth.update({"token": self.context.run_id})
        if self.archive is not None:
            self.archive.set([*self.archive.get(), self.name])
        if self.out is not None:
            self.out.send({})


sample = Sample(name="x", auth=Cell(Auth()))
'''


def test_author_file_passes_strict_mypy(tmp_path: Path) -> None:
    """A charm that uses every part of the API has no complaint from mypy --strict, a typo has."""
    from mypy import api

    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(SAMPLE)
    bad.write_text(SAMPLE + "\nsample.counter = 'x'\nsample.countr = 1\nSample(nam='x')\n")
    folder = Path(__file__).parents[2]
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = True\nmypy_path = {folder}\nfollow_imports = silent\n")
    cache = folder / ".mypy_cache" / "authors"

    report, errors, _ = api.run(
        ["--config-file", str(config), "--cache-dir", str(cache), str(good), str(bad)]
    )

    assert errors == ""
    assert "good.py" not in report
    assert {"assignment", "attr-defined", "call-arg"} <= {
        line.rpartition("[")[2].rstrip("]") for line in report.splitlines()
    }
