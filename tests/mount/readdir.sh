#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# 100,000 entries, listed while others come and go: none twice, none missing.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need python3

mkdir "$BACKING/dir"
(cd "$BACKING/dir" && seq -f "stays-%.0f" 0 99999 | xargs touch)
check "none twice, none missing" "$(dirname "$(realpath "$0")")/readdir.py" "$MNT/dir" "$BACKING/dir" 100000 3
