"""The whole integration of the guide, exactly as it stands there, runs."""

from __future__ import annotations

from pathlib import Path

from tests.process.program import wait_until
from tests.process.running import Service
from tests.unit.test_docs import examples


def test_the_integration_of_the_guide_runs(tmp_path: Path) -> None:
    """Its file adds charms, which are polled; it has twenty lines."""
    (source,) = examples("docs/integrations.md", "class NamesIntegration")
    assert 20 == len([line for line in source.splitlines() if line])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "names.py").write_text(source)
    flags = (f"--integrations-dir={tmp_path / 'mine'}", "--integration=names")
    with Service(tmp_path / "data", *flags, NAMES="ada,bob") as service:
        for name in ("ada", "bob"):
            wait_until(
                lambda name=name: any(
                    one["cause"] == name and one["successes"]
                    for one in service.request("GET", "/api/charms?space=names")["charms"]
                )
            )
        (ada,) = service.request("GET", "/api/charms?space=names&text=ada")["charms"]
        state = service.request("GET", f"/api/charms/{ada['space']}/{ada['charm_id']}/state")
    assert 100 + ada["successes"] <= state["counter"]
    assert ["names"] == ada["listed_by"]
