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

#: What each layer holds, the lowest first. A sub-package stands for all of its modules, and
#: `(package)` for the package itself, which re-exports the author's API.
LAYERS = {
    "values": "model errors limits limit_names json_values quantities dids pem_keys identity refs"
    " sealing signing",
    "author's API": "(package) charm cells fields blueprint asking snapshot links binding loading"
    " integration stored_cell integrations charms",
    "policy": "batching clock fairness redaction retry sandbox_mode schedule settlement run_size",
    "storage": "data_directory storage_errors numbered_commits database row_keys migrations"
    " schema_steps schema_version copying integrity job_queue store doctor",
    "workers": "frames wire tickets worker_requests remains source_inspection kept_log"
    " batch_watch sandbox proc_files process_control deadline run_loop aftermath output"
    " zygote worker worker_boot"
    " run_failure refusals"
    " scratch scratch_usage tree_removal worker_handle worker_watch worker_channel"
    " worker_protocol worker_looks process_usage process_settings processes waiting_runs"
    " zygote_client nursery crew reception"
    " pool pool_contract pool_events"
    " scan_process scan_child scan_group scan_protocol discovery listing",
    "service": "in_flight turns run_limits limit_views planner dispatcher preparing settler"
    " run_endings testimony run_writes rescue waiters inspections pacing supervisor surroundings"
    " roster upkeep scans"
    " status run_history events commands views status_views service run_log"
    " storage_watch backups backup_files backup_hook integrity_child restoring checkups"
    " stopped_doctor demo_charm",
    "edges": "__main__ api cli client service_socket daemon configuration setting settings options"
    " operator_identity logs status_log systemd announcements",
}

MEMBERS = {
    layer: {name.replace("(package)", "") for name in names.split()}
    for layer, names in LAYERS.items()
}
HEIGHTS = {name: height for height, names in enumerate(MEMBERS.values()) for name in names}

#: An outside package that only these modules may import.
OWNERS = {
    "persistqueue": {"job_queue"},
    "sqlite3": MEMBERS["storage"],
}

#: A module of ours that only these may import: what runs the code of a charm.
INSIDE_WORKERS = {
    *MEMBERS["author's API"],
    *("worker", "worker_boot", "run_failure", "source_inspection"),
}
DOORS = {"binding": INSIDE_WORKERS, "loading": INSIDE_WORKERS}

VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}
LONGEST_MODULE_LINES = 300


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


def part(name: str) -> str:
    """Return the module or sub-package directly below the package."""
    return name.partition(".")[0]


def internal() -> Iterator[tuple[Import, str]]:
    """Return the imports of our own modules, with the name inside the package."""
    for found in imports():
        target = inside(found.target)
        if target is not None:
            yield found, target


def test_rules_see_the_package() -> None:
    """The reading works: it finds the modules, their imports, and the symlinked folders."""
    assert {"model", "errors", "systemd"} <= sources().keys()
    assert any(found.importer == "model" and target == "errors" for found, target in internal())


def test_every_module_has_a_layer() -> None:
    """A module that no layer names is a question that somebody has to answer here."""
    assert [] == sorted(name for name in sources() if part(name) not in HEIGHTS)


def test_imports_point_down() -> None:
    """A module imports from its own layer and from those below it."""
    upward = [
        str(found)
        for found, target in internal()
        if HEIGHTS.get(part(target), 0) > HEIGHTS.get(part(found.importer), len(LAYERS))
    ]
    assert [] == upward


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
        if part(found.importer) not in OWNERS.get(part(found.target), {part(found.importer)})
    ]
    assert [] == strangers


def test_charm_code_is_loaded_in_workers_only() -> None:
    """Only the worker, and the package that shows the author's API, import the loader of charms."""
    strangers = [
        str(found)
        for found, target in internal()
        if part(found.importer) not in DOORS.get(target, {part(found.importer)})
    ]
    assert [] == strangers


def test_charms_import_the_author_api_only() -> None:
    """A shipped charm shows what an author may do: it imports the package's top level alone."""
    assert [] == [
        str(found) for found, target in internal() if part(found.importer) == "charms" and target
    ]


def test_modules_have_names_of_their_own() -> None:
    """No vague names, and none that hides a module of the standard library."""
    last_names = {name: name.rpartition(".")[2] for name in sources() if name}
    taken = (sys.stdlib_module_names | VAGUE_NAMES) - {"__main__"}
    assert [] == sorted(name for name, last in last_names.items() if last in taken)


def test_modules_are_short() -> None:
    """A module over 300 lines holds more than one thing."""
    lengths = {name: len(path.read_text().splitlines()) for name, path in sources().items()}
    assert {} == {name: n for name, n in lengths.items() if n > LONGEST_MODULE_LINES}


def test_modules_say_what_they_own() -> None:
    """Every module that holds code begins with a docstring."""
    silent = [name for name, tree in trees().items() if tree.body and not ast.get_docstring(tree)]
    assert [] == silent
