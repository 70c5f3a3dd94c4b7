"""A lock says which packages, by hashes; it comes back as it was, and holds no address."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.packages.lock import (
    LockedPackage,
    PackageLock,
    check_given,
    check_python_of,
    decode_lock,
    encode_lock,
    lock_hash,
    read_lock,
    read_requirements,
    write_requirements,
)
from bg_charm_service.domain.packages.script_block import ScriptBlock

HASH = "sha256:" + "0a" * 32
BLOCK = ScriptBlock(("alpha>=1",), ">=3.11")
LOCK = PackageLock(
    ("alpha>=1",),
    ">=3.11",
    ">=3.11",
    (LockedPackage("alpha", "2.0", (HASH,)), LockedPackage("beta", "1.0", (HASH,))),
)


def test_lock_comes_back_as_it_was() -> None:
    """What is written is read, and has the same name."""
    assert LOCK == decode_lock(encode_lock(LOCK))
    assert LOCK == read_lock(msgspec.to_builtins(LOCK))
    assert lock_hash(LOCK) == lock_hash(decode_lock(encode_lock(LOCK)))


def test_lock_is_named_by_all_of_it() -> None:
    """Another version is another lock."""
    other = msgspec.structs.replace(LOCK, packages=LOCK.packages[:1])
    assert lock_hash(LOCK) != lock_hash(other)


def test_answer_of_the_resolver_is_read() -> None:
    """Names, versions, markers and hashes are taken, whatever lines they stand on."""
    text = f"""\
# a remark
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash={HASH} \\
    --hash=sha256:{"0b" * 32}
My.Name==1.0+cpu --hash={HASH}
"""
    found = read_requirements(text, BLOCK, ">=3.11")
    assert [("my-name", "1.0+cpu", ""), ("numpy", "2.4.6", 'python_full_version < "3.12"')] == [
        (each.name, each.version, each.marker) for each in found.packages
    ]
    assert 2 == len(found.packages[1].hashes)
    assert found.packages == read_requirements(write_requirements(found), BLOCK, "").packages


@pytest.mark.parametrize(
    "line", ["alpha==1.0", f"alpha --hash={HASH}", f"alpha @ https://x.org/a.whl --hash={HASH}"]
)
def test_answer_without_version_or_hash_is_refused(line: str) -> None:
    """What could be any file is not locked."""
    with pytest.raises(InvalidInput):
        read_requirements(line, BLOCK, "")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("name", "../alpha"),
        ("name", "alpha\n--index-url=https://example.org"),
        ("version", "1.0 --index-url=https://example.org"),
        ("marker", "nonsense"),
        ("hashes", []),
        ("hashes", ["md5:00"]),
        ("hashes", [f"{HASH} --index-url=https://example.org"]),
    ],
)
def test_lock_that_says_more_is_refused(member: str, value: object) -> None:
    """A lock that somebody gives can lead nowhere: each of its texts is what it must be."""
    given: dict[str, Any] = msgspec.to_builtins(LOCK)
    given["packages"][0][member] = value
    with pytest.raises(InvalidInput, match=r"^lock: "):
        read_lock(given)


def test_lock_that_is_no_text_is_refused() -> None:
    """JSON can spell what no file takes."""
    given: dict[str, Any] = msgspec.to_builtins(LOCK)
    given["requires"] = ["\ud800"]
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        read_lock(given)


def test_lock_of_another_block_is_refused() -> None:
    """A lock counts for the block that it was made from, and has what that asks for."""
    check_given(LOCK, BLOCK, "one.py")
    with pytest.raises(InvalidInput, match="another block"):
        check_given(LOCK, ScriptBlock(("alpha>=2",), ">=3.11"), "one.py")
    old = msgspec.structs.replace(LOCK, packages=(LockedPackage("alpha", "0.5", (HASH,)),))
    with pytest.raises(InvalidInput, match="has no alpha>=1"):
        check_given(old, BLOCK, "one.py")


def test_lock_for_another_python_is_refused() -> None:
    """It says both, and what to do."""
    check_python_of(LOCK, "3.13.0")
    with pytest.raises(InvalidInput, match=r"locked for Python >=3\.11.*runs on 3\.10.*update"):
        check_python_of(LOCK, "3.10.2")
