"""The integration of OPML files: which feeds it reads, and what it says of files that are none."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.integration import NotInitialised, charm_source
from bg_charm_service.integrations import opml
from bg_charm_service.sdk.cells import Cell

FIXTURE = Path(__file__).parents[1] / "fixtures" / "feeds.opml"

#: What else may be named as the file, and what is said of it.
WRONG = {
    "": "is no XML that can be read: no element found",
    "<opml>": "is no XML that can be read",
    "\0": "is no XML that can be read",
    '<?xml version="1.0" encoding="klingon"?><opml/>': "is no XML that can be read",
    "<opml/>": "is no OPML file: it has no <opml> with a <body>",
    "<rss><body/></rss>": "is no OPML file: it has no <opml> with a <body>",
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The integration's module, with an environment of the test's."""
    for name in ("OPML_FILE", "OPML_SPACE"):
        monkeypatch.delenv(name, raising=False)
    return opml


def test_feeds_are_read_once_wherever_they_stand(module: ModuleType) -> None:
    """In folders or not, in any spelling; no comment, no other link and no other address."""
    assert {
        "http://127.0.0.1:PORT/one": "One & only",
        "http://127.0.0.1:PORT/two": "Two",
        "http://127.0.0.1:PORT/three": "Three",
    } == module.read_opml(FIXTURE)


def test_each_feed_is_described_as_a_charm(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the charm that ships, in the space that the environment names."""
    monkeypatch.setenv("OPML_FILE", str(FIXTURE))
    first, *_ = module.integration.fetch_charms()
    assert charm_source("rss") == first.pop("source")
    assert {
        "space": "feeds",
        "cause": "http://127.0.0.1:PORT/one",
        "file": "rss.py",
        "set": {"url": "http://127.0.0.1:PORT/one", "title": "One & only"},
    } == first
    monkeypatch.setenv("OPML_SPACE", "news")
    assert {"news"} == {one["space"] for one in module.integration.fetch_charms()}


def test_without_a_file_it_is_not_initialised(module: ModuleType) -> None:
    """It lists nothing, and says what it needs."""
    with pytest.raises(NotInitialised, match=r"OPML_FILE=feeds\.opml"):
        module.integration.initialize()


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_opml_file_is_refused(module: ModuleType, tmp_path: Path, text: str) -> None:
    """In one line that names the file and says what is wrong with it."""
    file = tmp_path / "feeds.opml"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"^OPML_FILE: {file} {WRONG[text]}"):
        module.read_opml(file)


@pytest.mark.parametrize("name", ["missing.opml", "."])
def test_a_file_that_cannot_be_read_is_named(module: ModuleType, tmp_path: Path, name: str) -> None:
    """One that is not there, and a folder."""
    with pytest.raises(ValueError, match=r"^OPML_FILE: .* cannot be read: "):
        module.read_opml(tmp_path / name)


def test_only_readers_of_feeds_are_valid(module: ModuleType) -> None:
    """A charm with an updater and an address."""
    stream = {"$stream": True}
    is_valid = module.integration.is_valid_charm
    assert is_valid(Cell({"bgUpdater": stream, "url": "http://site.example/feed"}))
    assert not is_valid(Cell({"bgUpdater": stream}))


@pytest.mark.parametrize("name", ["nothing", "../cli/root", ""])
def test_only_charms_that_ship_have_a_source(name: str) -> None:
    """Another name is refused, and is no path."""
    with pytest.raises(InvalidInput, match="ships with the service"):
        charm_source(name)
