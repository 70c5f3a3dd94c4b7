#!/usr/bin/env bash
# The width of whole numbers in arrays, where another dumper was chosen for single ones.
#
# psycopg 3.3.9 with psycopg-binary 3.3.9, Python 3.11. No server is needed: it is about what is sent.
#
# - As it comes, psycopg chooses the width by the values: `int2[]` for small ones, `int4[]` for 40,000,
#   each array by itself.
# - With `register_dumper(int, Int8BinaryDumper)` single numbers are `int8`, in binary. Arrays are not:
#   they go as text, with the width that the first array of the statement has, whatever is in the
#   next. A server answers "value "40000" is out of range for type smallint".
# - With `Int8Dumper` registered before it, for texts, arrays are `int8[]`.
#
# Seen (types by their number: 20 int8, 1005 int2[], 1007 int4[], 1016 int8[]):
#   as it comes, [1, 2] and [40000]: 1005 1007
#   with a binary dumper, 1 and 40000: 20 20
#   with a binary dumper, [1, 2] and [40000]: 1005 1005
#   with both dumpers, [1, 2] and [40000]: 1016 1016
#
# Rests on it: docs/decisions/0096-one-code-two-dialects.md
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check psycopg==3.3.9 psycopg-binary==3.3.9
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from types import SimpleNamespace

import psycopg
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper


def types(adapters, *parameters):
    transformer = Transformer(SimpleNamespace(adapters=adapters, connection=None))
    transformer.dump_sequence(list(parameters), [PyFormat.AUTO] * len(parameters))
    return transformer.types


plain = AdaptersMap(psycopg.adapters)
binary = AdaptersMap(psycopg.adapters)
binary.register_dumper(int, Int8BinaryDumper)
both = AdaptersMap(psycopg.adapters)
both.register_dumper(int, Int8Dumper)
both.register_dumper(int, Int8BinaryDumper)

seen = {
    "as it comes, [1, 2] and [40000]": types(plain, [1, 2], [40000]),
    "with a binary dumper, 1 and 40000": types(binary, 1, 40000),
    "with a binary dumper, [1, 2] and [40000]": types(binary, [1, 2], [40000]),
    "with both dumpers, [1, 2] and [40000]": types(both, [1, 2], [40000]),
}
for what, found in seen.items():
    print(f"{what}: {' '.join(map(str, found))}")
if list(seen.values()) != [(1005, 1007), (20, 20), (1005, 1005), (1016, 1016)]:
    sys.exit("It is another way now.")
PYTHON
