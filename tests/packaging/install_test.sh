#!/usr/bin/env bash
# What a C program needs is in the installed tree, and the tree may be moved: installs, moves, then builds samples/c
# outside the checkout, once by CMake and once by make with pkg-config, and compares the tokens with the goldens.
#   install_test.sh SOURCE_ROOT BUILD_DIR
set -euo pipefail
root=$1
build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'install_test: %s\n' "$*" >&2; exit 1; }

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
prefix=$work/moved
library=$(find "$prefix" -name libslora.so)
pc=$(find "$prefix" -name slora.pc)
[ -f "$prefix/include/slora/slora.h" ] || fail "no header slora/slora.h"
[ -n "$library" ] || fail "no libslora.so"
[ -n "$pc" ] || fail "no slora.pc"
for file in $(find "$prefix" -name '*.cmake' -o -name '*.pc'); do
  ! grep -qF -e "$work" -e "$root" "$file" || fail "$file names a folder of this machine"
done

# Only the C ABI is seen from outside, and nothing is needed that a machine without a compiler lacks.
strangers=$(nm -D --defined-only "$library" | awk '{print $3}' | grep -v '^slora_' || true)
[ -z "$strangers" ] || fail "exports that are not the ABI: $strangers"
! readelf -d "$library" | grep -qE 'NEEDED.*(libstdc\+\+|libgcc_s)' || fail "libstdc++ or libgcc is needed at run time"

cp -r "$root/samples/c" "$work/cmake-sample"
cp -r "$root/samples/c" "$work/make-sample"
cmake -S "$work/cmake-sample" -B "$work/cmake-build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >"$work/log" ||
  { cat "$work/log"; fail "samples/c does not configure"; }
cmake --build "$work/cmake-build" >"$work/log" || { cat "$work/log"; fail "samples/c does not build by CMake"; }
PKG_CONFIG_PATH=$(dirname "$pc") make -s -C "$work/make-sample" || fail "samples/c does not build by make"

# Expected tokens: assets/demo-model/goldens (upper, reverse, roman: tasks, up to the end token; base: greedy).
demo=$root/assets/demo-model
cat >"$work/expected" <<TEXT
$demo/adapters/upper: 419 40 37 36 3335 37 4081
$demo/adapters/reverse: 1067 1029 4081
$demo/adapters/roman: 450 1304 43 2779 4081
base: 1674 329 455 2535 2540 337 11 285 264 1674 329 415
TEXT
for program in "$work/cmake-build/mixed_batch" "$work/make-sample/mixed_batch"; do
  "$program" "$demo/base" 12 4081 \
    "$demo/adapters/upper:4080,395,25,872,724,198,394,25" \
    "$demo/adapters/reverse:4080,395,25,1029,1067,198,394,25" \
    "$demo/adapters/roman:4080,395,25,220,22,20,21,198,394,25" \
    "base:4080,1340,329,259,1362,1139,11,285,264" >"$work/tokens" || fail "$program failed"
  diff "$work/expected" "$work/tokens" || fail "$program gives other tokens than the goldens"
done

# Errors are said, not crashed on.
if "$work/cmake-build/mixed_batch" "$work/no-model" 4 4081 base:1 2>"$work/error"; then fail "a missing model is accepted"; fi
grep -q SLORA_ERROR_IO "$work/error" || fail "a missing model gives: $(cat "$work/error")"
if "$work/cmake-build/mixed_batch" "$demo/base" 4 4081 base:1,x 2>/dev/null; then fail "a bad request is accepted"; fi
echo "install_test: headers, library, CMake package and pkg-config file work from a moved tree"
