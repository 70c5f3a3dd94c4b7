"""Finds integrations and loads them: shipped modules, entry points, the operator's directory.

Loading one executes its code, so that the scan process calls this and the service never does.
A source that cannot be loaded raises InvalidInput with the reason in one line.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal, cast

from bg_charm_service import integrations as shipped
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.text_limits import LINE_ERROR_CHARACTERS, cut
from bg_charm_service.scanning.integration import Integration

#: The entry point group under which other distributions offer integrations.
ENTRY_POINT_GROUP = "bg_charm_service.integrations"

#: The id of the integration that `--charms` adds; no other may take it.
MANUAL_ID = "manual"

#: An id is typed on a command line and stored as a label.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where an integration's code comes from."""

    kind: Literal["module", "entry point", "file"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def find_sources(directory: Path | None) -> tuple[list[Source], list[str]]:
    """Name the places where an integration may be, the shipped ones first, executing none.

    Gives beside them why the directory could not be read, if so.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(shipped.__path__))
    sources = [Source("module", f"{shipped.__name__}.{name}") for name in names if name[0] != "_"]
    offered = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    sources += [Source("entry point", name) for name in sorted(offered.names)]
    try:
        entries = sorted(directory.iterdir()) if directory else []
    except OSError as error:
        return sources, [f"--integrations-dir {directory}: {error.strerror}"]
    for entry in entries:
        file = entry / "__init__.py" if entry.is_dir() else entry
        if entry.name[0] not in "_." and file.suffix == ".py" and file.is_file():
            sources.append(Source("file", str(file.absolute())))
    return sources, []


def load_integration(source: Source) -> Integration:
    """Execute a source and give its integration."""
    try:
        found = _load_object(source)
    except (Exception, SystemExit) as error:
        raise InvalidInput(reason_of(error)) from error
    return _checked(found)


def reason_of(error: BaseException) -> str:
    """Say in one line what was raised, and where."""
    text = " ".join(str(error).split())
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, InvalidInput):
        reason = text
    elif not isinstance(error, SyntaxError) and error.__traceback__ is not None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason += f" ({Path(frame.filename).name}, line {frame.lineno})"
    # Half of a surrogate pair would not fit into a frame.
    reason = cut(reason, LINE_ERROR_CHARACTERS, mark="")
    return reason.encode("utf-8", "backslashreplace").decode()


def _load_object(source: Source) -> object:
    if source.kind == "entry point":
        (entry_point,) = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=source.name)
        found = entry_point.load()
    elif source.kind == "module":
        found = importlib.import_module(source.name)
    else:
        found = _load_file(Path(source.name))
    if isinstance(found, ModuleType):
        if not hasattr(found, "integration"):
            raise InvalidInput(
                "it has no `integration = MyIntegration()` "
                "(a module that is none of its own needs a name starting with `_`)"
            )
        found = found.integration
    return found() if isinstance(found, type) else found


def _load_file(file: Path) -> ModuleType:
    home = file.parent.parent if file.name == "__init__.py" else file.parent
    if str(home) not in sys.path:
        # At the end: a file named like a library module must not hide it.
        sys.path.append(str(home))
    stem = file.parent.name if file.name == "__init__.py" else file.stem
    name = f"bg_charm_integration_{stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InvalidInput("it cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _checked(found: object) -> Integration:
    identifier = getattr(found, "id", None)
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        raise InvalidInput(f"its `id` must be a short name, not {identifier!r:.100}")
    if identifier == MANUAL_ID:
        raise InvalidInput(f"its id is `{MANUAL_ID}`, which is reserved for --charms")
    name = getattr(found, "name", None)
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"its `name` must be text, not {name!r:.100}")
    for method in ("initialize", "get_integration_config"):
        if not callable(getattr(found, method, None)):
            raise InvalidInput(f"it has no method `{method}`")
    return cast("Integration", found)
