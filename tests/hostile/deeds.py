"""What hostile charms do: the files of tests/hostile/charms, each a list of deeds and their ends.

A deed's file is put behind the charm that does it, and both are one source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHARMS = Path(__file__).parent / "charms"

#: How a file of deeds names what stands before it; a linter and a reader need that, a charm not.
_IMPORT = "from tests.hostile.charms.hostile import "


@dataclass(frozen=True)
class Deed:
    """One deed, and what it must end in: the cause recorded, and words of the error."""

    file: str
    name: str
    cause: str
    words: str

    def __str__(self) -> str:
        return self.name.replace("_", "-")


def source_of(file: str) -> str:
    """Put a file of deeds behind the charm that does them."""
    lines = (CHARMS / f"{file}.py").read_text().splitlines(keepends=True)
    return (CHARMS / "hostile.py").read_text() + "".join(
        line for line in lines if not line.startswith(_IMPORT)
    )


def deeds_of(file: str) -> list[Deed]:
    """The deeds of a file, in order."""
    known: dict[str, Any] = {"__name__": file}
    exec(compile(source_of(file), f"{file}.py", "exec"), known)
    return [Deed(file, name, *end) for name, end in known["ENDS"].items()]


def each_of(file: str, *, but: str = "") -> pytest.MarkDecorator:
    """Run a test with each deed of a file."""
    return pytest.mark.parametrize(
        "deed", [d for d in deeds_of(file) if d.name not in but], ids=str
    )
