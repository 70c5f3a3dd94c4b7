"""The contract is the only way in: one module knows the engines, and nothing else imports them."""

from __future__ import annotations

from tests.unit.test_architecture import PACKAGE_DIR, internal

#: What stands between the service and its engines.
STORAGE = "storage"

#: What engines share.
SHARED = {f"{STORAGE}.sql"}

ENGINE_FOLDERS = {
    f"{STORAGE}.{path.name}"
    for path in (PACKAGE_DIR / STORAGE).iterdir()
    if path.is_dir() and (path / "__init__.py").exists()
} - SHARED


def engine_of(module: str) -> str | None:
    """Give the engine's folder that a module lies in, if it lies in one."""
    head = ".".join(module.split(".")[:2])
    return head if head in ENGINE_FOLDERS else None


def test_one_module_knows_the_engines() -> None:
    """Outside of an engine's folder, one module of the storage layer imports from it."""
    assert ENGINE_FOLDERS
    for engine in ENGINE_FOLDERS:
        importers = {
            found.importer
            for found, target in internal()
            if engine_of(target) == engine and engine_of(found.importer) != engine
        }
        assert [True] == [name.startswith(f"{STORAGE}.") for name in importers], importers


def test_engines_do_not_know_each_other() -> None:
    """What two engines share lies beside them."""
    strangers = [
        str(found)
        for found, target in internal()
        if engine_of(found.importer) and engine_of(target) not in (None, engine_of(found.importer))
    ]
    assert [] == strangers


def test_no_module_is_named_in_a_text() -> None:
    """Nor does anybody else name an engine's module in a text, for a process to import."""
    texts = {
        path.relative_to(PACKAGE_DIR)
        for path in PACKAGE_DIR.rglob("*.py")
        for engine in ENGINE_FOLDERS
        if engine in path.read_text() and not path.is_relative_to(PACKAGE_DIR / STORAGE)
    }
    assert set() == texts
