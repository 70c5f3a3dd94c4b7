"""What a charm's own file can change of its process, as its source shows.

That is nothing where it imports harmless modules only. Else it is what it assigns to below the
modules that it imports:

`stripe.api_key = …`, `json.JSONEncoder.default = …`, `plt.rcParams["font.size"] = 8`,
`sys.modules["sqlite3"] = …`: whatever library that is, it is seen in the source, and so put back
after each run of that charm. Used by `shared_state`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bg_charm_service.workers.runtime.watched_state import MISSING

#: A line that may assign to an attribute or item of something else than `self`. Most files have
#: none, and need not be looked at any closer.
_MAY_ASSIGN: Final = re.compile(
    r"^[ \t]*(?:(?!self\b)[A-Za-z_]\w*(?:\.\w+|\[[^\]\n]*\])+[^=\n(]*=(?!=)|del[ \t])|\bsetattr\(",
    re.MULTILINE,
)

#: Modules that are watched without that, or are the charm's to change.
_WATCHED_ANYWAY: Final = (("os", "environ"), ("sys", "path"))

#: Whoever imports nothing else has nothing at hand to change the process with. What they can be
#: made to do to others by assigning to their names is seen by that.
_HARMLESS: Final = frozenset(
    [
        "__future__",
        "abc",
        "asyncio",
        "base64",
        "bg_charm_service",
        "collections",
        "collections.abc",
        "contextlib",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "fractions",
        "functools",
        "hashlib",
        "hmac",
        "html",
        "itertools",
        "math",
        "operator",
        "pydantic",
        "re",
        "statistics",
        "string",
        "textwrap",
        "time",
        "typing",
        "typing_extensions",
        "urllib.parse",
        "uuid",
        "zoneinfo",
    ]
)
_IMPORT: Final = re.compile(r"\bimport\b")
_PLAIN_IMPORT: Final = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w.]+)[ \t]*$)", re.MULTILINE
)
_OTHER_WAYS: Final = re.compile(
    r"\b(?:__\w*import\w*__|__builtins__|__globals__|exec|eval|globals|setattr|import_module)\b"
)


def is_harmless(source: str) -> bool:
    """Whether a source has nothing at hand to change anything with that charms share."""
    plain = [one or other for one, other in _PLAIN_IMPORT.findall(source)]
    return (
        _HARMLESS.issuperset(plain)
        and len(_IMPORT.findall(source)) == len(plain)
        and _OTHER_WAYS.search(source) is None
    )


@dataclass(frozen=True, slots=True)
class AssignedName:
    """A name below a module: each step is an attribute, or an item where it is in a tuple."""

    module: str
    steps: tuple[str | tuple[Any], ...]

    def read(self) -> Any:
        """Give what it stands for, MISSING for nothing; raises LookupError for no such place."""
        owner, last = self._place()
        if isinstance(last, tuple):
            try:
                return owner[last[0]]
            except (LookupError, TypeError):
                return MISSING
        # As it lies there: what a class inherits, or a module makes up when asked, is not its own.
        return vars(owner).get(last, MISSING) if _is_plain(owner) else getattr(owner, last, MISSING)

    def write(self, value: Any) -> None:
        """Let it stand for this, or for nothing; raises LookupError for no such place."""
        owner, last = self._place()
        if isinstance(last, tuple):
            if value is MISSING:
                del owner[last[0]]
            else:
                owner[last[0]] = value
        elif value is MISSING:
            delattr(owner, last)
        else:
            setattr(owner, last, value)

    def _place(self) -> tuple[Any, str | tuple[Any]]:
        owner: Any = sys.modules[self.module]
        *way, last = self.steps
        for step in way:
            try:
                owner = owner[step[0]] if isinstance(step, tuple) else getattr(owner, step)
            except (AttributeError, TypeError) as error:
                raise LookupError(step) from error
        return owner, last


def assigned_names(source: str) -> tuple[AssignedName, ...]:
    """Give what a source assigns to, or removes, below a module that it imports."""
    if _MAY_ASSIGN.search(source) is None:
        return ()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # Loading it says so.
        return ()
    imported = dict(_imports(tree))
    targets = (_steps(node) for node in ast.walk(tree))
    found = (
        AssignedName(imported[root][0], (*imported[root][1], *steps))
        for root, steps in filter(None, targets)
        if root in imported
    )
    return tuple(
        dict.fromkeys(one for one in found if (one.module, one.steps[0]) not in _WATCHED_ANYWAY)
    )


def _imports(tree: ast.Module) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    """Give the names that imports make, with the module and the way from there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                top = one.name.partition(".")[0]
                yield one.asname or top, (one.name if one.asname else top, ())
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for one in node.names:
                yield one.asname or one.name, (node.module, (one.name,))


def _steps(node: ast.AST) -> tuple[str, tuple[str | tuple[Any], ...]] | None:
    """Give the root and the steps of what a node assigns to; None for any other node."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
        match node.args:
            case [owner, ast.Constant(value=str(name)), _]:
                return _way(owner, (name,))
        return None
    if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return _way(node, ())
    return None


def _way(
    node: ast.AST, steps: tuple[str | tuple[Any], ...]
) -> tuple[str, tuple[str | tuple[Any], ...]] | None:
    match node:
        case ast.Name(id=root):
            return (root, steps) if steps else None
        case ast.Attribute(value=owner, attr=name):
            return _way(owner, (name, *steps))
        case ast.Subscript(value=owner, slice=ast.Constant(value=key)):
            return _way(owner, ((key,), *steps))
    return None


def _is_plain(owner: Any) -> bool:
    return isinstance(owner, type | type(sys))
