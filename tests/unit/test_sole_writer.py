"""What the embedded engine remembers as the only writer of its file, in memory."""

from __future__ import annotations

from bg_charm_service.storage.sql.sole_writer import ChangeMarks


def test_too_many_marks_count_as_changes_of_all() -> None:
    """The memory of marks is bounded: beyond it every number differs, once."""
    changes = ChangeMarks(most=3)
    before = {key: changes.since(key) for key in range(10)}
    for key in range(4):
        changes.mark(key)
    after = {key: changes.since(key) for key in range(10)}
    assert all(before[key] != after[key] for key in range(10))
    changes.mark(1)
    assert [1] == [key for key in range(10) if after[key] != changes.since(key)]
