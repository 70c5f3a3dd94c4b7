"""Folders of packages: complete or not there, read-only, and seen when they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bg_charm_service.packages.folders import PackageFolders

LOCK = "a1" * 32


def opened(root: Path) -> PackageFolders:
    """Open the folders of a data directory, as a new life of the service does."""
    folders = PackageFolders(root)
    folders.open()
    return folders


def install(folders: PackageFolders, lock: str = LOCK) -> str:
    """Make a folder that holds one module."""
    place = folders.begin()
    (place / "lib" / "alpha").mkdir()
    (place / "lib" / "alpha" / "__init__.py").write_text("version = 1\n")
    name = folders.complete(place, lock)
    folders.announce(lock, name)
    folders.discard(place)
    return name


def test_folder_outlasts_a_restart(tmp_path: Path) -> None:
    """A complete folder is found again, with its size, undamaged."""
    name = install(opened(tmp_path))
    folders = opened(tmp_path)
    assert folders.is_there(LOCK)
    assert name == folders.name(LOCK)
    assert 12 == folders.size_bytes(name)
    assert "" == folders.damage(name, reads=True)


def test_nothing_is_made_before_there_is_something(tmp_path: Path) -> None:
    """A service without such charms has no folder for them."""
    folders = opened(tmp_path / "packages")
    assert not folders.is_there(LOCK)
    assert [] == list(tmp_path.iterdir())


def test_half_a_folder_is_none(tmp_path: Path) -> None:
    """What was being made when the service died is not taken for a folder, and is removed."""
    place = opened(tmp_path).begin()
    (place / "lib" / "half.py").write_text("")
    (tmp_path / "folders" / f"{LOCK}.any.00000000").mkdir()
    (tmp_path / "folders" / "stranger").mkdir()
    folders = opened(tmp_path)
    assert not folders.is_there(LOCK)
    assert not place.exists()
    assert not (tmp_path / "folders" / "stranger").exists()


def test_folder_of_another_interpreter_is_not_used(tmp_path: Path) -> None:
    """Compiled parts are for one interpreter: with another the packages count as missing."""
    folders = opened(tmp_path)
    name = install(folders)
    other = f"{LOCK}.cpython-399-other.{name.rpartition('.')[2]}"
    (tmp_path / "folders" / name).rename(tmp_path / "folders" / other)
    folders = opened(tmp_path)
    assert not folders.is_there(LOCK)
    assert [other] == folders.others(set())


def test_folder_that_is_gone_is_missed(tmp_path: Path) -> None:
    """A look at the disk tells, not what is remembered."""
    folders = opened(tmp_path)
    name = install(folders)
    (tmp_path / "folders" / name).rename(tmp_path / "taken")
    assert not folders.is_there(LOCK)
    assert "" == folders.name(LOCK)


def test_damage_is_seen(tmp_path: Path) -> None:
    """Another size is seen at a look, other bytes of the same size when they are read."""
    folders = opened(tmp_path)
    name = install(folders)
    module = folders.path(name) / "alpha" / "__init__.py"
    module.chmod(0o600)
    module.write_text("version = 2\n")
    assert "" == folders.damage(name, reads=False)
    assert "alpha/__init__.py is not what was installed" == folders.damage(name, reads=True)
    module.write_text("longer than it was\n")
    assert "another file" in folders.damage(name, reads=False)


def test_lost_file_is_seen(tmp_path: Path) -> None:
    """A file that is gone is named."""
    folders = opened(tmp_path)
    name = install(folders)
    module = folders.path(name) / "alpha" / "__init__.py"
    module.parent.chmod(0o700)
    module.unlink()
    assert folders.damage(name, reads=False).startswith("alpha/__init__.py: ")


def test_nothing_in_it_may_be_written(tmp_path: Path) -> None:
    """Files and folders have no right to be written, whoever has walls or not."""
    folders = opened(tmp_path)
    path = folders.path(install(folders))
    inside = [path, *path.rglob("*")]
    assert 3 == len(inside)
    assert all(each.stat().st_mode & 0o222 == 0 for each in inside)


def test_link_in_a_package_is_refused(tmp_path: Path) -> None:
    """It could lead anywhere."""
    folders = opened(tmp_path)
    place = folders.begin()
    (place / "lib" / "link").symlink_to("/etc/hosts")
    with pytest.raises(OSError, match="no file"):
        folders.complete(place, LOCK)


def test_folder_that_nobody_needs_is_removed(tmp_path: Path) -> None:
    """A forgotten folder is another one; removed, nothing of it is left."""
    folders = opened(tmp_path)
    name = install(folders)
    assert name == folders.forget(LOCK)
    assert [] == folders.others({name})
    assert [name] == folders.others(set())
    folders.remove(name)
    assert [] == list((tmp_path / "folders").iterdir())
    assert [] == list((tmp_path / "work").iterdir())


def test_folder_that_is_fetched_again_is_another(tmp_path: Path) -> None:
    """Workers that are bound to the damaged one must not be given the new one."""
    folders = opened(tmp_path)
    first = install(folders)
    folders.forget(LOCK)
    assert first != install(folders)
