"""What a charm's file says of the packages that it needs: its block of inline script metadata.

The block is that of the standard (packaging.python.org, "Inline script metadata", PEP 723): a
comment that holds TOML. Names with versions, extras and markers are taken, and nothing that leads
anywhere else. Pure: read where a source is added or updated, and never where it runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.version import VERSION

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: The pattern of the standard's reference implementation.
_BLOCK: Final = re.compile(
    r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"
)
_BEGINNING: Final = re.compile(r"(?m)^# /// script[ \t]*$")

#: This package itself, which a block may name: other tools that read it have to install it.
_OURS: Final = "bg-charm-service"

#: A block names no more packages than this, and no text in it is longer.
_MOST_DEPENDENCIES: Final = 200
_LONGEST: Final = 500

_KNOWN_KEYS: Final = ("dependencies", "requires-python", "tool")


@dataclass(frozen=True, slots=True)
class ScriptBlock:
    """What a file needs: requirements in normal form, sorted, and which Pythons will do."""

    dependencies: tuple[str, ...]
    requires_python: str = ""

    def names(self) -> tuple[str, ...]:
        """The packages that it names, in normal form."""
        return tuple(sorted({_name_of(_requirement(each)) for each in self.dependencies}))


def has_block(source: str) -> bool:
    """Whether a file may have one: asked of every source, so it looks for its first line only."""
    return "# /// script" in source


def read_block(source: str, file_name: str) -> ScriptBlock | None:
    """Read the block of a file; None without one. Raises InvalidInput saying what is wrong."""
    source = source.replace("\r\n", "\n")
    found = [match for match in _BLOCK.finditer(source) if match["type"] == "script"]
    where = f"{file_name}: its `# /// script` block"
    if not found:
        if _BEGINNING.search(source):
            raise InvalidInput(
                f"{where} does not end: its lines begin with `# `, and the last one is `# ///`."
            )
        return None
    if len(found) > 1:
        raise InvalidInput(
            f"{file_name}: there are {len(found)} `# /// script` blocks; one may be."
        )
    import tomllib

    lines = found[0]["content"].splitlines(keepends=True)
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is no TOML: {error}") from None
    return _read(data, where)


def check_python(block: ScriptBlock, running: str, file_name: str) -> None:
    """Raise InvalidInput where a file needs another Python than the one that runs here."""
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(block.requires_python).contains(running, prereleases=True):
        raise InvalidInput(
            f"{file_name}: it needs Python {block.requires_python}, and the service runs on "
            f"{running}. Change `requires-python`, or run the service on another Python."
        )


def check_allowed(block: ScriptBlock, allowed: frozenset[str], caller: str, file_name: str) -> None:
    """Raise InvalidInput for packages that a caller may not name, who is held to a list."""
    from packaging.utils import canonicalize_name

    listed = {canonicalize_name(name) for name in allowed}
    missing = [name for name in block.names() if name not in listed]
    if missing:
        raise InvalidInput(
            f"{file_name}: {caller} may not have {_joined(missing)} installed: whoever operates "
            f"the service allows a package with `--package-allow={','.join(missing)}`, or adds "
            "the charm."
        )


def _read(data: dict[str, Any], where: str) -> ScriptBlock:
    for key in data:
        if key not in _KNOWN_KEYS:
            raise InvalidInput(
                f"{where} has {key!r:.60}, which nobody knows: `dependencies` and "
                "`requires-python` may be there."
            )
    tool = data.get("tool", {})
    if not isinstance(tool, dict) or "uv" in tool:
        raise InvalidInput(
            f"{where} has [tool.uv]: where packages come from is the operator's to say, and "
            "nothing of it is read. Leave it out."
        )
    python = data.get("requires-python", "")
    if not isinstance(python, str) or len(python) > _LONGEST:
        raise InvalidInput(f'{where}: requires-python is a text, such as ">=3.11".')
    wanted = data.get("dependencies", [])
    if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted):
        raise InvalidInput(f'{where}: dependencies is a list of texts, such as ["requests>=2.32"].')
    if len(wanted) > _MOST_DEPENDENCIES:
        raise InvalidInput(f"{where} names {len(wanted)} packages; {_MOST_DEPENDENCIES} may be.")
    read = [_read_dependency(each, where) for each in wanted]
    dependencies = sorted({str(each) for each in read if each is not None})
    return ScriptBlock(tuple(dependencies), _python(python, where))


def _python(text: str, where: str) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return str(SpecifierSet(text))
    except InvalidSpecifier:
        raise InvalidInput(
            f'{where}: requires-python is a version, such as ">=3.11", not {text!r:.60}.'
        ) from None


def _read_dependency(text: str, where: str) -> Requirement | None:
    """Read one entry; None for this package itself, which is there."""
    from packaging.requirements import InvalidRequirement

    try:
        if len(text) > _LONGEST:
            raise InvalidRequirement("it is too long")
        read = _requirement(text.strip())
    except InvalidRequirement:
        raise InvalidInput(
            f"{where}: {text!r:.100} is no package. Names with versions are taken, such as "
            '"requests>=2.32"; no paths, no addresses and no options.'
        ) from None
    if read.url is not None:
        raise InvalidInput(
            f"{where}: {text!r:.100} names an address. Packages come from the operator's index: "
            f'write "{read.name}", with a version if need be.'
        )
    if any(one.operator == "===" for one in read.specifier):
        raise InvalidInput(f"{where}: {text!r:.100} compares by `===`; write `==`.")
    if read.marker is not None and "extra" in str(read.marker):
        raise InvalidInput(
            f"{where}: {text!r:.100} asks for an extra in its marker; write name[extra]."
        )
    if _name_of(read) != _OURS:
        return read
    if not read.specifier.contains(VERSION, prereleases=True):
        raise InvalidInput(f"{where} needs {text:.100}, and this service is {VERSION}.")
    return None


def _requirement(text: str) -> Requirement:
    from packaging.requirements import Requirement

    return Requirement(text)


def _name_of(requirement: Requirement) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(requirement.name)


def _joined(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
