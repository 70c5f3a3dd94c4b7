"""Tables that commands print: columns keep their room, whatever stands below a row."""

from __future__ import annotations

import pytest

from bg_charm_service.cli.printing import WIDTH, coloured, print_table


def test_a_note_takes_no_room_of_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """However long it is: it stands below its row, cut to the width of a line."""
    headings, rows = ["CHARM", "STATUS"], [["a", "failing"], ["b", "ok"], ["c", "waiting"]]
    notes = [coloured("  " + "because " * 40, "red"), None, coloured("  until 14:05", "")]
    print_table(headings, rows)
    plain = capsys.readouterr().out.splitlines()
    print_table(headings, rows, notes)
    noted = capsys.readouterr().out.splitlines()
    assert [*plain[:2], *plain[2:4]] == [noted[0], noted[1], noted[3], noted[4]]
    assert WIDTH == len(noted[2])
    assert noted[2].startswith("  because because")
    assert "  until 14:05" == noted[5]
