"""The architecture, held by reading the imports of every module: nothing here is executed."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "bg_charm_service"
PACKAGE_DIR = Path(__file__).parents[2] / PACKAGE

#: Each folder, and the folders that its modules may import; an arrow includes what lies below it.
#: What a folder holds that is listed by itself (`storage/sqlite`) is not part of it. Everything may
#: import `domain`. `(public)` is the package's root: what authors import.
MAY_IMPORT = {
    "cli": "daemon api service scanning storage",
    "daemon": "api service supervisor scanning packages workers/pool storage",
    "api": "service storage workers/protocol",
    "service": "supervisor scanning packages sign_in notices workers/pool workers/protocol"
    " workers/sandbox storage",
    "supervisor": "workers/pool workers/protocol storage",
    "scanning": "sdk workers/protocol integrations",
    "packages": "files workers/protocol workers/runtime workers/sandbox",
    "sign_in": "workers/protocol workers/sandbox",
    "notices": "workers/protocol workers/sandbox",
    "workers": "",
    "workers/pool": "files workers/protocol",
    "workers/runtime": "sdk workers/protocol workers/sandbox",
    "workers/sandbox": "",
    "workers/protocol": "",
    "storage": "files storage/postgres storage/sql storage/sqlite",
    "storage/sql": "storage",
    "storage/sqlite": "storage storage/sql",
    "storage/postgres": "storage storage/sql",
    "files": "",
    "sdk": "",
    "domain": "",
    "integrations": "(public)",
    "charms": "(public)",
}

#: What stands beside the folders: data, the entry of the program, and re-exports of a few lines
#: under the public names that documents give.
BESIDE = {"__init__.py", "__main__.py", "py.typed"}
PUBLIC_MODULES = {"integration.py", "signing.py"}
LONGEST_PUBLIC_MODULE_LINES = 30

#: An outside package that only modules in these folders may import.
OWNERS = {
    "persistqueue": "storage/sqlite/job_queue",
    "psycopg": "storage/postgres",
    "sqlite3": "storage/sqlite",
}

VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}


@dataclass(frozen=True)
class Import:
    """One imported thing, and the module that wants it."""

    importer: str
    target: str
    line: int
    at_import_time: bool

    def __str__(self) -> str:
        return f"{self.importer or PACKAGE} (line {self.line}) imports {self.target}"


@cache
def sources() -> dict[str, Path]:
    """Name inside the package -> file, for every module; charms are data, but keep the rules."""
    # Path.rglob does not enter symlinks, and two folders of the package are symlinks.
    folders = [(PACKAGE_DIR, ""), *((PACKAGE_DIR / n, n) for n in ("integrations", "charms"))]
    found: dict[str, Path] = {}
    for folder, prefix in folders:
        for path in folder.resolve().rglob("*.py"):
            parts = Path(prefix, path.relative_to(folder.resolve())).with_suffix("").parts
            found[".".join(parts).removesuffix("__init__").removesuffix(".")] = path
    return found


@cache
def trees() -> dict[str, ast.Module]:
    """Parse every module."""
    return {name: ast.parse(path.read_text(), str(path)) for name, path in sources().items()}


@cache
def imports() -> list[Import]:
    """Return every import of every module, also those inside functions."""
    return [found for name, tree in trees().items() for found in imports_of(name, tree)]


def imports_of(importer: str, tree: ast.Module) -> Iterator[Import]:
    """Return the imports of one module; `from package import module` is one of that module."""
    inside_functions = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        at_import_time = id(node) not in inside_functions
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, node.lineno, at_import_time)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(importer, node)
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                target = deeper if inside(deeper) in sources() else base
                yield Import(importer, target, node.lineno, at_import_time)


def absolute(importer: str, node: ast.ImportFrom) -> str:
    """Return the full name of the module that a `from … import` names."""
    if not node.level:
        return node.module or ""
    is_package = sources()[importer].name == "__init__.py"
    parts = [PACKAGE, *filter(None, importer.split("."))]
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *filter(None, [node.module])])


def inside(target: str) -> str | None:
    """Return the name inside the package, or None for anything outside it."""
    if target == PACKAGE:
        return ""
    return target.removeprefix(f"{PACKAGE}.") if target.startswith(f"{PACKAGE}.") else None


def folder(name: str) -> str:
    """Return the listed folder that a module lies in, the deepest one."""
    parts = name.split(".")
    heads = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((head for head in heads if head in MAY_IMPORT), "(public)")


def internal() -> Iterator[tuple[Import, str]]:
    """Return the imports of our own modules, with the name inside the package."""
    for found in imports():
        target = inside(found.target)
        if target is not None:
            yield found, target


def test_rules_see_the_package() -> None:
    """The reading works: it finds modules in every folder, their imports, and the symlinks."""
    assert MAY_IMPORT.keys() <= {folder(name) for name in sources()}
    assert any("sdk" == folder(one.importer) and "domain" == folder(to) for one, to in internal())


def test_the_package_is_its_folders() -> None:
    """At the root lie the folders that are named above, and nothing that is not named."""
    named = {name.partition("/")[0] for name in MAY_IMPORT} | BESIDE | PUBLIC_MODULES
    there = {path.name for path in PACKAGE_DIR.iterdir() if path.name != "__pycache__"}
    assert named == there


def test_public_modules_only_pass_names_on() -> None:
    """What documents name at the package's root is a list of imports, with a docstring."""
    for name in PUBLIC_MODULES:
        text = (PACKAGE_DIR / name).read_text()
        _docstring, *rest = ast.parse(text).body
        assert all(isinstance(node, ast.ImportFrom) for node in rest), name
        assert len(text.splitlines()) <= LONGEST_PUBLIC_MODULE_LINES, name


def test_imports_follow_the_arrows() -> None:
    """A module imports from its own folder, from those that its folder may, and from `domain`."""
    strangers = []
    for found, target in internal():
        home, there = folder(found.importer), folder(target)
        allowed = {home, "domain", *MAY_IMPORT.get(home, "").split()}
        if home != "(public)" and there not in allowed:
            strangers.append(str(found))
    assert [] == strangers


def test_no_arrow_is_drawn_for_nothing() -> None:
    """What a folder may import, it does: the list says how things are."""
    drawn = {(home, there) for home, all_of in MAY_IMPORT.items() for there in all_of.split()}
    used = {(folder(found.importer), folder(target)) for found, target in internal()}
    assert set() == drawn - used


def test_the_page_draws_the_same_arrows() -> None:
    """The table of the folders in docs/architecture.md is the list above."""
    page = (PACKAGE_DIR.parent / "docs" / "architecture.md").read_text()
    table = page.partition("## Folders")[2].partition("\n\nAn arrow")[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    drawn = {
        first.strip("` ").rstrip("/"): set(last.replace("/`", "`").split("`")[1::2])
        for _, first, _, last, _ in rows
    }
    listed = {name: set(names.split()) for name, names in MAY_IMPORT.items()}
    assert drawn == {name: listed[name] for name in listed.keys() & drawn.keys()}
    assert listed.keys() - drawn.keys() == {"workers", "integrations", "charms"}


def test_modules_do_not_import_each_other_in_a_ring() -> None:
    """At import time, no module needs itself; the package's own re-exports are left out."""
    graph: dict[str, set[str]] = {name: set() for name in sources()}
    for found, target in internal():
        if found.at_import_time and target and found.importer:
            graph[found.importer].add(target)
    graphlib.TopologicalSorter(graph).prepare()


def test_private_names_stay_inside_their_module() -> None:
    """No module takes a name with a leading underscore out of another one."""
    taken = [
        f"{name} (line {node.lineno}) takes {alias.name} from {node.module}"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and inside(absolute(name, node)) is not None
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert [] == taken


def test_every_resource_has_one_owner() -> None:
    """Only the queue imports persistqueue, and only the storage layer imports sqlite3."""
    strangers = [
        str(found)
        for found in imports()
        if (owner := OWNERS.get(found.target.partition(".")[0])) is not None
        and not found.importer.replace(".", "/").startswith(owner)
    ]
    assert [] == strangers


def test_charms_import_the_author_api_only() -> None:
    """A shipped charm shows what an author may do: it imports the package's top level alone."""
    assert [] == [
        str(found)
        for found, target in internal()
        if found.importer.partition(".")[0] == "charms" and target
    ]


def test_modules_have_names_of_their_own() -> None:
    """No vague names, and none that hides a module of the standard library."""
    last_names = {name: name.rpartition(".")[2] for name in sources() if name}
    taken = (sys.stdlib_module_names | VAGUE_NAMES) - {"__main__"}
    assert [] == sorted(name for name, last in last_names.items() if last in taken)


def test_modules_say_what_they_own() -> None:
    """Every module that holds code begins with a docstring."""
    silent = [name for name, tree in trees().items() if tree.body and not ast.get_docstring(tree)]
    assert [] == silent
