#!/usr/bin/env bash
# gpu_test.sh counts what its programs say, counts one that dies as failed, and fails with them. The programs are stand-ins,
# and so are cmake and ldconfig.
set -euo pipefail
root=$1
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
mkdir "$folder/bin" "$folder/path"
stand_in() { # file, text, status
  printf '#!/bin/sh\nprintf "%s"\nexit %s\n' "$2" "$3" >"$folder/$1"
  chmod +x "$folder/$1"
}
stand_in path/cmake '' 0
stand_in path/ldconfig '' 0
good='[  PASSED  ] 3 tests.\\n'
for name in cuda_good golden tiny_golden dialects abi mixed_batch ablation recorded_steps; do stand_in "bin/${name}_test" "$good" 0; done
run() {
  status=0
  said=$(PATH="$folder/path:$PATH" OUT=$folder SLORA_TEST_BIN="$folder/bin" SLORA_NCCL_LIBRARY='' SLORA_TEST_JOBS=4 \
    bash "$root/tests/scripts/gpu_test.sh" "$@") || status=$?
  last=$(tail -n 1 <<<"$said")
}
expect() { # what, actual, expected
  [ "$2" = "$3" ] || { printf '%s: %s, expected %s\n%s\n' "$1" "$2" "$3" "$said"; exit 1; }
}

# Four shares of the kernel tests, two of six model tests, one without graphs, the recordings alone.
run
expect "all good" "$last, $status" "$((3 * (4 + 12 + 1 + 1))) passed, 0 failed, 0"

stand_in bin/dialects_test '[  PASSED  ] 1 test.\\n[  SKIPPED ] 1 test, listed below:\\n[  FAILED  ] 2 tests, listed below:\\n[  FAILED  ] A.B\\n[  FAILED  ] A.C\\n\\n 2 FAILED TESTS\\n' 1
run
expect "two of each share fail" "$last, $status" "50 passed, 4 failed, 1"
grep -q '^cuda-dialects_test-1-of-2: 1 passed, 2 failed, 1 skipped, status 1' <<<"$said" || { echo "the share is not told: $said"; exit 1; }

stand_in bin/dialects_test '' 139
run
expect "both shares die" "$last, $status" "48 passed, 2 failed, 1"

run --no-such-flag 2>/dev/null
expect "an unknown flag" "$status" 2
