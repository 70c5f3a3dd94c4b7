"""Feeds of an OPML file, as readers of feeds export it: each gets an `rss` charm, and is polled.

    OPML_FILE=feeds.opml make run-opml

`OPML_SPACE` is the space of the charms, `feeds` by default. The file is read again at each scan: a
feed that was added to it is polled, one that was taken out is polled no more, and its charm stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bg_charm_service import Cell
from bg_charm_service.integration import (
    IntegrationCellConfig,
    NotInitialised,
    charm_source,
    has_all,
)


class OpmlIntegration:
    """The feeds that an OPML file lists."""

    id = "opml"
    name = "Feeds of an OPML file"

    def initialize(self) -> None:
        """Look at the file, so that what is wrong with it is said at once."""
        self.fetch_charms()

    def get_integration_config(self) -> IntegrationCellConfig:
        return IntegrationCellConfig(
            id=self.id,
            name=self.name,
            space_id="system",
            fetch_charms=self.fetch_charms,
            is_valid_integration_charm=self.is_valid_charm,
        )

    def fetch_charms(self) -> list[dict[str, Any]]:
        """Describe a charm for each feed; it is added where it is not there yet."""
        path = os.environ.get("OPML_FILE")
        if not path:
            raise NotInitialised("Say which file has the feeds: OPML_FILE=feeds.opml.")
        source, space = charm_source("rss"), os.environ.get("OPML_SPACE") or "feeds"
        return [
            {
                "space": space,
                "cause": url,
                "file": "rss.py",
                "source": source,
                "set": {"url": url, "title": title},
            }
            for url, title in read_opml(Path(path)).items()
        ]

    def is_valid_charm(self, charm: Cell[Any]) -> bool:
        return has_all(charm, "bgUpdater", "url")


def read_opml(path: Path) -> dict[str, str]:
    """Give the addresses of a file's feeds, each once, with their titles."""
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - the operator's own file
    except OSError as error:
        raise ValueError(f"OPML_FILE: {path} cannot be read: {error.strerror}") from None
    except (ElementTree.ParseError, UnicodeError, LookupError) as error:
        raise ValueError(f"OPML_FILE: {path} is no XML that can be read: {error}") from None
    body = root.find("body")
    if root.tag != "opml" or body is None:
        raise ValueError(f"OPML_FILE: {path} is no OPML file: it has no <opml> with a <body>")
    found: dict[str, str] = {}
    for url, title in _feeds(body):
        found.setdefault(url, title)
    return found


def _feeds(outline: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """The feeds of an outline and of those in it, which are folders or feeds."""
    for one in outline.iterfind("outline"):
        # The names stand in large and small letters, as each program likes them.
        said = {name.lower(): text.strip() for name, text in one.items()}
        if said.get("iscomment", "").lower() == "true":
            continue
        url = said.get("xmlurl", "")
        if url.lower().startswith("feed://"):
            url = f"http://{url[len('feed://') :]}"
        if url.lower().startswith(("http://", "https://")):
            yield url, said.get("title") or said.get("text", "")
        yield from _feeds(one)


integration = OpmlIntegration()
