"""The promises of reading an import: batches of limited size, and errors that know their line."""

from __future__ import annotations

import json
from pathlib import Path

from bg_charm_service.cli.charms.transfer import BATCH_CHARMS, Tally, batches


def lines(*values: object) -> list[bytes]:
    """Write JSON lines."""
    return [json.dumps(value).encode() + b"\n" for value in values]


def test_charms_come_in_batches(tmp_path: Path) -> None:
    """No request holds more charms than the limit, and every charm is in one, in order."""
    given = lines(*({"source": "", "space": str(n)} for n in range(BATCH_CHARMS * 2 + 1)))
    found = list(batches(given, tmp_path, Tally()))
    assert [BATCH_CHARMS, BATCH_CHARMS, 1] == [len(batch.charms) for batch in found]
    assert list(range(1, len(given) + 1)) == [line for batch in found for line, _ in batch.charms]
    assert sum(map(len, given)) == sum(batch.read_bytes for batch in found)


def test_large_sources_make_small_batches(tmp_path: Path) -> None:
    """A request ends when its charms have many bytes, long before the limit of their number."""
    (tmp_path / "large.py").write_text("#" * 3_000_000)
    given = lines(*({"file": "large.py", "space": "demo"} for _ in range(7)))
    found = list(batches(given, tmp_path, Tally()))
    assert [3, 3, 1] == [len(batch.charms) for batch in found]


def test_files_are_looked_for_beside_the_import(tmp_path: Path) -> None:
    """A file is named from the directory of the lines; its source and name are sent."""
    (tmp_path / "charms").mkdir()
    (tmp_path / "charms" / "counter.py").write_text("source")
    (batch,) = batches(lines({"file": "charms/counter.py", "space": "demo"}), tmp_path, Tally())
    expected = {"file": "counter.py", "space": "demo", "source": "source"}
    assert [(1, expected)] == batch.charms


def test_a_bad_line_costs_itself_only(tmp_path: Path) -> None:
    """A line that cannot be read is told by its number; empty lines are none, the others go on."""
    given = [
        b"{nonsense\n",
        b"\n",
        b"[1]\n",
        *lines({"file": "missing.py"}, {"file": "gone/a.py", "source": "x"}, {"source": "good"}),
        b"\xff\n",
    ]
    tally = Tally()
    (batch,) = batches(given, tmp_path, tally)
    assert [(5, {"file": "a.py", "source": "x"}), (6, {"source": "good"})] == batch.charms
    assert [1, 3, 4, 7] == [error["line"] for error in tally.errors]
    assert "missing.py: cannot be read: No such file" in tally.errors[2]["error"]
