"""What integration authors import: the interface, its configuration, and cells to read.

An integration lists charms to poll and knows what a valid one is. Its code is the operator's own
and runs in the scan process, which provides the cells; nothing here opens the store.
Imported by integrations, `discovery` and the scan process.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, space_did
from bg_charm_service.domain.merkle import is_merkle_id, refer
from bg_charm_service.domain.model import UPDATER_STREAMS
from bg_charm_service.domain.package_folder import CHARMS_FOLDER
from bg_charm_service.sdk.cells import Cell

#: How configurations name the service's own space.
SYSTEM_SPACE = "system"

#: What `fetch_charms` gives: see `charm_list.read_listed` for the forms that an item may take.
Listed: TypeAlias = Iterable[object]


class NotInitialised(InvalidInput):
    """This integration was never initialised, so it has no charms to list."""


@dataclass(frozen=True, slots=True)
class CellAddress:
    """Names one cell: the DID of its space and its merkle id."""

    space: str
    cell_id: str

    @classmethod
    def of(cls, space: str, cell: str) -> CellAddress:
        """Read a space (`system`, name or DID) and a cell (merkle id, or the cause it has)."""
        name = SYSTEM_SPACE_NAME if space == SYSTEM_SPACE else space
        return cls(space_did(name), cell if is_merkle_id(cell) else refer({"causal": cell}))


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrationCellConfig:
    """Where an integration keeps its list, how to fetch it, and which charms in it count.

    `cell_id` may be a merkle id or free text; `cell_cause_name` is the same, always as text.
    """

    id: str
    name: str
    space_id: str
    fetch_charms: Callable[[], Listed | Awaitable[Listed]]
    cell_id: str | None = None
    cell_cause_name: str | None = None
    is_valid_integration_charm: Callable[[Cell[Any]], bool | Awaitable[bool]] | None = None

    def address(self) -> CellAddress | None:
        """Give the cell that this integration keeps its list in, None when it names none."""
        cell = self.cell_id or self.cell_cause_name
        return CellAddress.of(self.space_id, cell) if cell else None


class Integration(Protocol):
    """Contributes charms to poll; both methods may be `async`."""

    id: str
    name: str

    def initialize(self) -> Awaitable[None] | None:
        """Prepare whatever the integration needs, for `--initialize`."""

    def get_integration_config(self) -> IntegrationCellConfig | Awaitable[IntegrationCellConfig]:
        """Give the configuration; asked again at every scan."""
        ...


class CellAccess(Protocol):
    """What the scan process lends to the code it runs."""

    def read(self, address: CellAddress) -> bytes | None: ...

    def write(self, address: CellAddress, value: bytes) -> None: ...


_access: ContextVar[CellAccess] = ContextVar("cell_access")


@contextmanager
def cell_access(access: CellAccess) -> Iterator[None]:
    """Provide the cells that `read_cell` and `initialize_cell` work on."""
    token = _access.set(access)
    try:
        yield
    finally:
        _access.reset(token)


def read_cell(space: str, cell: str) -> Any:
    """Give the value of a cell, None when nothing is stored; works while a scan runs this code."""
    stored = _current_access().read(CellAddress.of(space, cell))
    return None if stored is None else json.loads(stored)


def initialize_cell(address: CellAddress) -> None:
    """Write the empty list of charms to a cell, unless it has a list already."""
    access = _current_access()
    stored = access.read(address)
    value = None if stored is None else json.loads(stored)
    kept = value if isinstance(value, dict) else {}
    if not isinstance(kept.get("charms"), list):
        access.write(address, json.dumps({**kept, "charms": []}, separators=(",", ":")).encode())


def charm_source(name: str) -> str:
    """Give the source of a charm that ships with the service, by its name: `rss`."""
    path = CHARMS_FOLDER / f"{name}.py"
    if not name.isidentifier() or not path.is_file():
        raise InvalidInput(f"No charm {name:.100} ships with the service.")
    return path.read_text(encoding="utf-8")


def has_all(charm: Cell[Any], *keys: str) -> bool:
    """Tell whether a charm has all these keys, none of them null."""
    return all(charm.key(key).get() is not None for key in keys)


def has_updater(charm: Cell[Any]) -> bool:
    """Tell whether a charm has a stream that a poll can use."""
    return any(has_all(charm, stream) for stream in UPDATER_STREAMS)


class CellIntegration:
    """An integration whose charms are listed in a cell: `{"charms": [{"space", "charmId"}]}`.

    A subclass gives `id`, `name`, and `cell_cause_name` or `cell_id`.
    """

    id: str
    name: str
    space_id: ClassVar[str] = SYSTEM_SPACE
    cell_id: ClassVar[str | None] = None
    cell_cause_name: ClassVar[str | None] = None

    def initialize(self) -> Awaitable[None] | None:
        """Write the empty list, unless there is one already."""
        initialize_cell(self._address())
        return None

    def fetch_charms(self) -> Listed | Awaitable[Listed]:
        """Give what the cell lists; raises NotInitialised when it was never written."""
        address = self._address()
        value = read_cell(address.space, address.cell_id)
        if value is None:
            raise NotInitialised(
                f"The {self.name} integration was never initialised: run "
                f"`bg-charm-service --integration={self.id} --initialize`."
            )
        charms = value.get("charms") if isinstance(value, Mapping) else None
        if not isinstance(charms, list):
            raise InvalidInput(f"The cell {address.cell_id} holds no list `charms`.")
        return charms

    def is_valid_charm(self, charm: Cell[Any]) -> bool | Awaitable[bool]:
        """Tell whether a listed charm is one that this integration can poll."""
        return True

    def get_integration_config(self) -> IntegrationCellConfig:
        return IntegrationCellConfig(
            id=self.id,
            name=self.name,
            space_id=self.space_id,
            cell_id=self.cell_id,
            cell_cause_name=self.cell_cause_name,
            fetch_charms=self.fetch_charms,
            is_valid_integration_charm=self.is_valid_charm,
        )

    def _address(self) -> CellAddress:
        cell = self.cell_id or self.cell_cause_name
        if not cell:
            raise InvalidInput(f"The {self.name} integration names no cell for its list.")
        return CellAddress.of(self.space_id, cell)


def _current_access() -> CellAccess:
    try:
        return _access.get()
    except LookupError:
        raise RuntimeError(
            "Cells can be read only while the service runs this integration, "
            "and not in a thread of its own."
        ) from None
