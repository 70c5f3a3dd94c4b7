#!/usr/bin/env bash
# feedgenerator 2.2.1 (and so Pelican 4.12.0): two entries of one day whose addresses differ in the
# query alone have one and the same Atom id; those of RSS have no guid at all.
#
# Why it matters here: docs/decisions/0076-feeds.md. RFC 4287 (4.2.6) has an id name one entry "for
# all time"; whoever goes by it alone keeps one of the two.
#
# Seen with feedgenerator 2.2.1 on Python 3.11:
#
#     Atom1Feed: http://site.example/event?id=5 is tag:site.example,2025-01-02:/event
#     Atom1Feed: http://site.example/event?id=6 is tag:site.example,2025-01-02:/event
#     Rss201rev2Feed: 2 items, 0 guids
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check feedgenerator==2.2.1

cat >"$folder/expected" <<'EXPECTED'
Atom1Feed: http://site.example/event?id=5 is tag:site.example,2025-01-02:/event
Atom1Feed: http://site.example/event?id=6 is tag:site.example,2025-01-02:/event
Rss201rev2Feed: 2 items, 0 guids
EXPECTED

cd "$folder"
venv/bin/python - <<'PROGRAM' | tee seen
import datetime
from xml.etree import ElementTree

import feedgenerator


def made(kind):
    feed = kind(title="Events", link="http://site.example/", description="What is on")
    for number in (5, 6):
        feed.add_item(
            title=f"Event {number}",
            link=f"http://site.example/event?id={number}",
            description="text",
            pubdate=datetime.datetime(2025, 1, 2, 10),
        )
    return ElementTree.fromstring(feed.writeString("utf-8"))


atom = "{http://www.w3.org/2005/Atom}"
for entry in made(feedgenerator.Atom1Feed).iter(f"{atom}entry"):
    link, name = entry.find(f"{atom}link").get("href"), entry.findtext(f"{atom}id")
    print(f"Atom1Feed: {link} is {name}")
rss = made(feedgenerator.Rss201rev2Feed)
print(f"Rss201rev2Feed: {len(list(rss.iter('item')))} items, {len(list(rss.iter('guid')))} guids")
PROGRAM
diff expected seen
