"""What is kept of a log: as many bytes as it may have, whatever they say."""

from __future__ import annotations

import pytest

from bg_charm_service.workers.pool.worker_process import BoundedLog

#: What the worker's own limit may be exceeded by, with the notice, in bytes.
SLACK_BYTES = 8192 + 64


@pytest.mark.parametrize("letter", ["x", "é", "語", "😀"])
@pytest.mark.parametrize("piece", [1, 100, 1_000_000])
def test_a_log_is_bounded_in_bytes(letter: str, piece: int) -> None:
    """Letters of several bytes count for so many; the end of what is kept is a whole one."""
    log = BoundedLog(1000)
    added = 0
    while not log.is_full:
        log.add(letter * piece)
        added += piece
    log.add("more")
    kept, _, notice = log.text.partition("\n…")
    assert kept == letter * len(kept)
    assert 1000 <= len(kept.encode()) <= len(log.text.encode()) <= 1000 + SLACK_BYTES
    assert "the rest was dropped" in notice


def test_a_log_within_its_limit_is_kept_whole() -> None:
    """Nothing is said of a rest where there is none."""
    log = BoundedLog(1000)
    for text in ("é\n", "", "second"):
        log.add(text)
    assert "é\nsecond" == log.text
    assert not log.is_full


@pytest.mark.parametrize("size", range(1, 6))
def test_raw_output_is_text_however_it_is_cut(size: int) -> None:
    """A letter that comes in two pieces is one; what is no letter is shown as what it is."""
    data = "é語😀".encode() + b"\xff" + "é".encode() + b"\xe8\xaa"
    log = BoundedLog(1000)
    for start in range(0, len(data), size):
        log.add_raw(data[start : start + size])
    assert "é語😀\\xffé\\xe8\\xaa" == log.text == log.text
