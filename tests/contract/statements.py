"""All texts of SQL that queue and store have, read from their modules."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from bg_charm_service.storage import sql

FOLDER = Path(sql.__file__).parent

#: What a statement has behind its first word, and what it does not end with: a part may.
_WHOLE = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s.*\b(FROM|INTO|SET)\s", re.DOTALL)
_PART = (" WHERE", " AND")


def all_statements() -> dict[str, str]:
    """Give each text that stands as a whole in a module, with the place of it.

    What is put together from names of a function is none.
    """
    found: dict[str, str] = {}
    for path in sorted(FOLDER.rglob("*.py")):
        name = ".".join([sql.__name__, *path.relative_to(FOLDER).with_suffix("").parts])
        module = importlib.import_module(name.removesuffix(".__init__"))
        for line, text in _texts(ast.parse(path.read_text()), vars(module)):
            if _WHOLE.match(text) and not text.endswith(_PART):
                found[text] = f"{path.name}:{line}"
    return found


def _texts(tree: ast.AST, names: dict[str, object]) -> Iterator[tuple[int, str]]:
    """Give the texts of a module, those put together from its own names with their values."""
    parts: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts.update(ast.walk(node))
            if {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} <= names.keys():
                code = compile(ast.Expression(node), "<text>", "eval")
                yield node.lineno, str(eval(code, names))  # noqa: S307 - the text of a module of ours
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.lineno, node.value
