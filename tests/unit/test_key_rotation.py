"""Files of keys: whole or not there, and never in the place of another."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bg_charm_service.daemon.key_rotation import (
    finish_rotation,
    next_identity,
    ready_key,
    take_place,
    write_key,
)
from bg_charm_service.daemon.operator_identity import identity_of_file
from bg_charm_service.daemon.settings import load_settings
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import Identity


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key's file."""
    file = tmp_path / "operator.pem"
    write_key(file, Identity.generate().to_pem().decode())
    return file


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system know one name for each file."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("has_links", [True, False])
def test_the_next_key_takes_the_place_of_the_old(
    key: Path, monkeypatch: pytest.MonkeyPatch, *, has_links: bool
) -> None:
    """The old key is kept under a name of its own, with the rights that it had."""
    if not has_links:
        without_links(monkeypatch)
    key.chmod(0o640)
    old, new = identity_of_file(key).did(), ready_key(key).did()
    assert new == ready_key(key).did()
    retired = take_place(key)
    assert (new, old) == (identity_of_file(key).did(), identity_of_file(retired).did())
    assert {key, retired} == set(key.parent.iterdir())
    assert {0o640} == {path.stat().st_mode & 0o777 for path in (key, retired)}


def test_a_link_to_the_key_stays_one(key: Path, tmp_path: Path) -> None:
    """Where IDENTITY is a symbolic link, the key itself is replaced."""
    link = tmp_path / "link.pem"
    link.symlink_to(key)
    new = ready_key(link).did()
    take_place(link)
    assert link.is_symlink()
    assert new == identity_of_file(key).did()


@pytest.mark.parametrize("has_links", [True, False])
def test_no_key_is_written_over(
    key: Path, monkeypatch: pytest.MonkeyPatch, *, has_links: bool
) -> None:
    """A file that is there stays, whatever it holds; nothing is left beside it."""
    if not has_links:
        without_links(monkeypatch)
    before = key.read_bytes()
    with pytest.raises(InvalidInput, match="File exists"):
        write_key(key, "another")
    assert before == key.read_bytes()
    assert [key] == list(key.parent.iterdir())


def test_only_the_key_that_the_data_belong_to_is_moved(key: Path) -> None:
    """A start leaves a key that is ready, and whose turn it is not, where it is."""
    settings = load_settings({}, {"IDENTITY": str(key)})
    old, ready = identity_of_file(key), ready_key(key)
    assert ready == next_identity(settings)
    finish_rotation(settings, ready, old.did())
    assert old == identity_of_file(key)
    finish_rotation(settings, ready, ready.did())
    assert ready == identity_of_file(key)
    assert None is next_identity(settings)


def test_a_file_that_is_no_key_is_no_next_one(key: Path) -> None:
    """What somebody else put there keeps no service from its start."""
    key.with_name("operator.pem.next").write_text("no key")
    assert None is next_identity(load_settings({}, {"IDENTITY": str(key)}))
