"""Caps on runs under way, and runs that need another worker: each waits, and loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.running import Service


@pytest.mark.parametrize(
    ("flag", "spaces", "integrations"),
    [
        ("--max-per-space=1", ("home", "home", "away"), ("post", "news", "post")),
        ("--max-per-integration=1", ("home", "away", "home"), ("post", "post", "news")),
    ],
    ids=["space", "integration"],
)
def test_second_run_waits_for_the_first(
    tmp_path: Path, flag: str, spaces: tuple[str, ...], integrations: tuple[str, ...]
) -> None:
    """With a cap of one, one run of the two is under way; a third, which is others', begins."""
    with Service(tmp_path / "data", "--interval=3600", "--max-concurrent=4", flag) as service:
        gates = [service.gate() for _ in spaces]
        charms = [
            service.add(space=space, values={"folder": str(gate.folder), "mode": "wait"})
            for space, gate in zip(spaces, gates, strict=True)
        ]
        for charm, integration, gate in zip(charms, integrations, gates, strict=True):
            charm.register(integration)
            if charm is not charms[1]:
                gate.wait_for_run()
        # Queued before the third, it would have begun before it.
        assert gates[1].is_quiet()
        gates[0].let_go()
        gates[1].wait_for_run()
        for gate in gates[1:]:
            gate.let_go()
        for charm in charms:
            charm.wait_for("run.succeeded")


@pytest.mark.parametrize("level", ["space", "shared", "run"])
def test_limits_of_a_charm_reach_its_worker(tmp_path: Path, level: str) -> None:
    """Charms of one space with different limits take turns in one worker's place."""
    flags = ("--interval=3600", "--max-concurrent=1", f"--isolation={level}")
    source = """\
import resource
from bg_charm_service import Charm

class Files(Charm):
    limits = {{"files": {files}}}
    seen: list[int] = []
    def bg_updater(self, event: dict) -> None:
        self.seen = [*self.seen, resource.getrlimit(resource.RLIMIT_NOFILE)[1]]
"""
    with Service(tmp_path / "data", *flags) as service:
        charms = {files: service.add(source.format(files=files)) for files in (40, 50)}
        for _ in range(3):
            for charm in charms.values():
                assert "success" == charm.perform()["status"]
        for files, charm in charms.items():
            assert [files] * 3 == charm.get("seen")
            assert 0 == charm.view()["failures"]
