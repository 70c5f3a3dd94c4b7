"""Tables that commands print: columns keep their room, whatever stands below a row."""

from __future__ import annotations

import pytest

from bg_charm_service.cli.output.printing import WIDTH, coloured, print_named, print_table


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


def test_a_key_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """However long the values beside it are; a long key goes on below itself."""
    long_key = "0123456789" * 12
    print_named(("KEY", "VALUE"), [("m00001", "x" * 300), (long_key, "y" * 300)])
    printed = capsys.readouterr().out.splitlines()
    keys = [line.split("  ")[0] for line in printed[1:]]
    assert ["m00001", long_key] == [keys[0], "".join(keys[1:])]
    assert max(map(len, printed)) <= WIDTH
