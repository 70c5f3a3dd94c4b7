"""The two example integrations of the original's documents keep working."""

from __future__ import annotations

import asyncio
import inspect
import sys
from pathlib import Path

import pytest

from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import refer
from bg_charm_service.scanning.discovery import Source, load_integration
from bg_charm_service.scanning.integration import CellAddress, IntegrationCellConfig
from bg_charm_service.sdk.cells import Cell

FIXTURES = Path(__file__).parents[1] / "fixtures" / "integrations"


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def config_of(file_name: str) -> IntegrationCellConfig:
    """Load an example and give its configuration."""
    integration = load_integration(Source("file", str(FIXTURES / file_name)))
    config = integration.get_integration_config()
    assert isinstance(config, IntegrationCellConfig)
    return config


@pytest.mark.parametrize(
    ("file_name", "integration_id", "name", "cause"),
    [
        (
            "my_integration.py",
            "my-integration-id",
            "My Integration",
            "my-integration-cell",
        ),
        (
            "myservice.py",
            "myservice",
            "My Service Integration",
            "myservice-integration-charms",
        ),
    ],
)
def test_example_has_its_id_name_and_cell(
    file_name: str, integration_id: str, name: str, cause: str
) -> None:
    """`system` is toolshed-system, and free text as `cellId` is a cause like `cellCauseName`."""
    config = config_of(file_name)
    assert (integration_id, name) == (config.id, config.name)
    expected = CellAddress(space_did("toolshed-system"), refer({"causal": cause}))
    assert expected == config.address()


@pytest.mark.parametrize("file_name", ["my_integration.py", "myservice.py"])
def test_example_lists_and_checks(file_name: str) -> None:
    """Its async fetch gives a list, and its check gets a cell to look into."""
    config = config_of(file_name)
    fetched = config.fetch_charms()
    assert inspect.iscoroutine(fetched)
    assert [] == asyncio.run(fetched)
    assert config.is_valid_integration_charm is not None
    assert config.is_valid_integration_charm(Cell({"$NAME": "Any"}, writable=False)) is True
