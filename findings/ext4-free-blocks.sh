#!/usr/bin/env bash
# Linux: ext4 says that blocks are free on a disk on which root can write nothing more.
#
# Why it matters here: docs/decisions/0033-disk-room.md. ext4 keeps 2 % of its clusters, 4096 at
# most, for its own delayed work; `f_bfree` counts them, and nobody can have them. What says for
# sure whether there is room is only an attempt to take it.
#
# Seen with Linux 6.18 and e2fsprogs 1.47, as root, on a file system of 64 MB:
#
#     root writes until there is no room
#     free then, in all: 1 MB or more
#     another 512 kB: No space left on device
#
# Needs root, loop devices and `mkfs.ext4`. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'umount "$folder/disk" 2>"$folder/errors" || true; rm -rf "$folder"' EXIT
cd "$folder"
mkdir disk
truncate --size 64M image
mkfs.ext4 -q image
mount -o loop image disk

cat >expected <<'EXPECTED'
root writes until there is no room
free then, in all: 1 MB or more
another 512 kB: No space left on device
EXPECTED

{
    dd if=/dev/zero of=disk/file bs=4k 2>errors || echo "root writes until there is no room"
    sync --file-system disk
    free=$(($(stat --file-system --format '%f * %S' disk)))
    echo "free then, in all: $([ "$free" -ge $((1024 * 1024)) ] && echo "1 MB or more" || echo less)"
    dd if=/dev/zero of=disk/other bs=512k count=1 2>errors || true
    echo "another 512 kB: $(grep -o 'No space left on device' errors || echo written)"
} | tee seen
diff expected seen
