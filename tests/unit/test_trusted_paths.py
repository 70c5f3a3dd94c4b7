"""Root opens files by paths through folders of others, and is not led to what is not theirs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.storage.trusted_paths import open_directory, open_file

#: Two users that own nothing else.
USER, ANOTHER = 54_321, 54_322

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def text_of(path: Path) -> str:
    """Read a file as a command does."""
    with open(open_file(path)) as opened:
        return opened.read()


def give(path: Path, user: int) -> Path:
    """Let a user own what has this name, and not what it leads to."""
    os.chown(path, user, user, follow_symlinks=False)
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of a user's, with a file in it; beside it lies one of root's."""
    (tmp_path / "roots").write_text("of root")
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "file").write_text("their own")
    give(folder / "file", USER)
    return give(folder, USER)


def test_a_path_is_followed_as_the_system_does(tmp_path: Path) -> None:
    """Folders, dots, and relative and absolute links lead where they always do."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("found")
    (tmp_path / "relative").symlink_to("a/b")
    (tmp_path / "absolute").symlink_to(tmp_path / "relative")
    (tmp_path / "last").symlink_to("absolute/../b/file")
    assert "found" == text_of(tmp_path / "absolute" / "file")
    assert "found" == text_of(tmp_path / "last")
    assert "found" == text_of(tmp_path / "a" / ".." / "a" / "b" / "." / "file")
    folder = open_directory(tmp_path / "absolute")
    assert ["file"] == os.listdir(folder)
    os.close(folder)


def test_what_is_not_there_is_told_as_always(tmp_path: Path) -> None:
    """A missing file, a file for a folder, and a circle of links are told of."""
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none" / "file")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        open_directory(tmp_path / "file")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises((InvalidInput, OSError), match=r"too many links|Too many levels"):
        open_file(tmp_path / "circle")


@as_root
def test_what_is_theirs_is_opened(theirs: Path) -> None:
    """A user's own files, through a user's own links too; and what root has put there."""
    give_link(theirs / "link", "file")
    (theirs / "of root").write_text("put there")
    assert "their own" == text_of(theirs / "link")
    assert "put there" == text_of(theirs / "of root")


def give_link(link: Path, target: str | Path) -> Path:
    """Make a link of a user's."""
    link.symlink_to(target)
    return give(link, USER)


@as_root
@pytest.mark.parametrize("owner", [0, ANOTHER], ids=["of root", "of another user"])
@pytest.mark.parametrize("kind", ["relative", "absolute", "hard", "folder"])
def test_a_link_of_theirs_leads_to_nothing_of_others(theirs: Path, owner: int, kind: str) -> None:
    """Whoever owns a link chooses where it leads: to a file of others root does not follow."""
    others = give(theirs.parent / "roots", owner)
    if kind == "hard":
        (theirs / "link").hardlink_to(others)
    elif kind == "folder":
        give(theirs.parent, owner)
        give_link(theirs / "link", "..")
    else:
        give_link(theirs / "link", others if kind == "absolute" else "../roots")
    with pytest.raises(InvalidInput, match="root does not follow there"):
        open_file(theirs / "link" / "roots" if kind == "folder" else theirs / "link")


@as_root
def test_a_link_of_roots_is_followed(theirs: Path) -> None:
    """Where root has made the link it is root's word where it leads."""
    (theirs.parent / "link").symlink_to("theirs/file")
    assert "their own" == text_of(theirs.parent / "link")
