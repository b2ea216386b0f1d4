#!/usr/bin/env bash
# run.sh SECONDS PROGRAMS [READER...]: runs each fuzzer in PROGRAMS for so long, from its kept corpus and what earlier runs
# found (out/fuzz/corpus). A finding is left in out/fuzz/findings; put it into tests/fuzz/corpus/READER with its fix, and
# every build replays it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
seconds=$1
programs=$2
shift 2
[ $# -gt 0 ] || set -- safetensors config index pattern peft abi
status=0
for reader in "$@"; do
  mkdir -p "$root/out/fuzz/corpus/$reader" "$root/out/fuzz/findings"
  log=$root/out/fuzz/$reader.log
  # An input may take ten seconds (slow means stuck) and 2 GB, whatever sizes it names.
  ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
    "$programs/fuzz_$reader" "$root/out/fuzz/corpus/$reader" "$root/tests/fuzz/corpus/$reader" \
    -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -dict="$root/tests/fuzz/json.dict" \
    -artifact_prefix="$root/out/fuzz/findings/$reader-" -print_final_stats=1 > "$log" 2>&1 || {
    status=1
    grep -m 3 -E 'ERROR|SUMMARY|runtime error' "$log" || tail -n 5 "$log"
  }
  printf '%-12s %s executions in %s s, %s inputs kept\n' "$reader" "$(sed -nE 's/^stat::number_of_executed_units: *//p' "$log")" \
    "$seconds" "$(find "$root/out/fuzz/corpus/$reader" -type f | wc -l)"
done
exit $status
