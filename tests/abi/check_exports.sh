#!/bin/sh
# check_exports.sh LIBRARY GOLDEN: the library exports what the headers declare and nothing else, or the difference is
# printed ("+" is exported and not declared, "-" is declared and not exported).
set -eu
have=$(mktemp)
trap 'rm -f "$have"' EXIT
nm -D --defined-only "$1" | awk '{ sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort -u > "$have"
diff -u --label declared --label exported "$2" "$have"
