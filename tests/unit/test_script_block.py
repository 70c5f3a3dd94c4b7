"""What a file's block of metadata may say, and what of it is refused, by a clear sentence each."""

from __future__ import annotations

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.packages.script_block import (
    ScriptBlock,
    check_allowed,
    check_python,
    read_block,
)
from bg_charm_service.domain.version import VERSION
from tests.wheels import script


def of(text: str) -> ScriptBlock | None:
    """Read the block of a file."""
    return read_block(text, "one.py")


def refusal(text: str) -> str:
    """Give the sentence that refuses a file."""
    with pytest.raises(InvalidInput) as caught:
        of(text)
    return str(caught.value)


def test_file_without_a_block_needs_nothing() -> None:
    """Most files have none, and neither has one with a block of another kind."""
    assert of("import json\n") is None
    assert of('# /// other\n# dependencies = ["x"]\n# ///\n') is None


def test_requirements_are_read_in_normal_form() -> None:
    """Names, versions, extras and markers are taken; what is written twice counts once."""
    block = of(script("Requests >=2.32", "requests>=2.32", "httpx[http2]", python=">=3.11"))
    assert block is not None
    assert ("Requests>=2.32", "httpx[http2]", "requests>=2.32") == block.dependencies
    assert ("httpx", "requests") == block.names()
    assert ">=3.11" == block.requires_python


def test_marker_is_kept() -> None:
    """A package for some machines only is asked for with its marker."""
    block = of("# /// script\n# dependencies = [\"a>1; sys_platform == 'linux'\"]\n# ///\n")
    assert block == ScriptBlock(('a>1; sys_platform == "linux"',))


def test_lines_may_end_as_on_windows() -> None:
    """A file with CRLF has the same block."""
    assert of(script("a").replace("\n", "\r\n")) == of(script("a"))


def test_block_may_name_this_service() -> None:
    """Other tools that read the file need that; it is there, if it is new enough."""
    assert of(script(f"bg-charm-service>={VERSION}", "a")) == ScriptBlock(("a",))
    assert f"this service is {VERSION}" in refusal(script("bg_charm_service>=999"))


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("a @ https://example.org/a-1.0-py3-none-any.whl", 'write "a"'),
        ("a @ file:///etc/passwd", "names an address"),
        ("a @ git+https://example.org/a.git", "names an address"),
        ("git+https://example.org/a.git", "is no package"),
        ("https://example.org/a-1.0-py3-none-any.whl", "is no package"),
        ("./a", "is no package"),
        ("../a-1.0.tar.gz", "is no package"),
        ("/srv/a", "is no package"),
        ("-e .", "is no package"),
        ("-r other.txt", "is no package"),
        ("--index-url https://example.org", "is no package"),
        ("a --hash=sha256:00", "is no package"),
        ("a\\nb", "is no package"),
        ("", "is no package"),
        ("a===1", "compares by `===`"),
        ("a; extra == 'x'", "write name[extra]"),
    ],
)
def test_what_leads_elsewhere_is_refused(requirement: str, words: str) -> None:
    """Addresses, paths, repositories and options are no packages, and the sentence says so."""
    assert words in refusal(f'# /// script\n# dependencies = ["{requirement}"]\n# ///\n')


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("# dependencies = [", "is no TOML"),
        ("# dependencies = 5", "is a list of texts"),
        ("# dependencies = [5]", "is a list of texts"),
        ("# requires-python = 3", "is a text"),
        ('# requires-python = "three"', "is a version"),
        ("# tool.uv.index-url = 'x'", "has [tool.uv]"),
        ("# [tool.uv]\n# sources = {}", "has [tool.uv]"),
        ("# tool = 5", "has [tool.uv]"),
        ("# name = 'x'", "'name'"),
        ("# dependencies = [" + ", ".join(["'a'"] * 201) + "]", "names 201 packages"),
    ],
)
def test_what_nobody_knows_is_refused(block: str, words: str) -> None:
    """A block says what is known, or it is refused: nothing in it is passed over in silence."""
    assert words in refusal(f"# /// script\n{block}\n# ///\n")


def test_block_that_does_not_end_is_refused() -> None:
    """It would be passed over as a whole otherwise."""
    assert "does not end" in refusal('# /// script\n# dependencies = ["a"]\nimport a\n')


def test_second_block_is_refused() -> None:
    """The standard allows one."""
    assert "there are 2" in refusal(script("a") + "\n" + script("b"))


def test_other_tools_may_keep_their_settings() -> None:
    """Of other tools than those that find packages nothing is read."""
    assert of("# /// script\n# tool.ruff.line-length = 100\n# ///\n") == ScriptBlock(())


def test_python_that_is_needed_is_held() -> None:
    """A file for another Python is refused with both versions."""
    block = ScriptBlock((), ">=3.12,<3.14")
    check_python(block, "3.12.1", "one.py")
    with pytest.raises(InvalidInput, match=r"needs Python .*3\.12.*runs on 3\.11\.7"):
        check_python(block, "3.11.7", "one.py")


def test_list_of_the_operator_is_held() -> None:
    """Whoever is held to a list may name what it has, however it is spelled, and nothing else."""
    block = ScriptBlock(("my_package>1", "other"))
    check_allowed(block, frozenset({"My.Package", "other"}), "token ci", "one.py")
    with pytest.raises(InvalidInput, match=r"token ci may not have other installed.*allow=other"):
        check_allowed(block, frozenset({"my-package"}), "token ci", "one.py")
