#!/usr/bin/env bash
# Linux: room that is reserved with FALLOC_FL_KEEP_SIZE does not count for RLIMIT_FSIZE.
#
# Why it matters here: docs/decisions/0033-disk-room.md. The limit is one of a file's length, as its
# manual page says, and this flag leaves the length as it is. So a limit of length bounds no room.
#
# Seen with Linux 6.18 and util-linux 2.38 on ext4, with files limited to 1 MB:
#
#     8 MB reserved with a longer file: refused, length 0, on disk 0 kB
#     8 MB reserved, length kept: accepted, length 0, on disk 8192 kB
#
# Needs Linux and `fallocate` of util-linux, and a file system that can reserve. Exits with 1 when
# anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >expected <<'EXPECTED'
8 MB reserved with a longer file: refused, length 0, on disk 0 kB
8 MB reserved, length kept: accepted, length 0, on disk 8192 kB
EXPECTED

reserve() {
    local what=$1 answer=refused
    shift
    touch file
    # The signal is one that the limit sends.
    if (trap '' XFSZ && ulimit -f 1024 && exec fallocate "$@" --length 8MiB file) 2>errors; then
        answer=accepted
    fi
    echo "8 MB reserved$what: $answer, length $(stat -c %s file), on disk $(($(stat -c %b file) / 2)) kB"
    rm file
}

{
    reserve " with a longer file"
    reserve ", length kept" --keep-size
} | tee seen
diff expected seen
