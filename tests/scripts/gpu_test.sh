#!/usr/bin/env bash
# On a machine with a GPU: builds the CUDA plugin, passes the kernel tests and the model tests on the CUDA backend, several
# programs at a time.
#
# usage: gpu_test.sh [--sanitize] [--serve] [--bench]
#   --sanitize  the kernel tests of LoRA and attention under compute-sanitizer as well
#   --serve     the demo model served on the GPU, asked for all its goldens by the OpenAI API
#   --bench     then kernels, whole steps and prefill, one after another, as JSON
# SLORA_TEST_BIN names a folder of test programs built elsewhere, and SLORA_TEST_CLI a published command-line tool, for a
# machine that has nvcc but not what the rest needs. SLORA_TEST_JOBS says how many programs run at once, SLORA_TEST_SECONDS
# how long one may take. What they print and measure lies in out/gpu-test, or in $OUT/gpu-test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
sanitize=0 serve=0 bench=0
for flag; do
  case $flag in
    --sanitize) sanitize=1 ;;
    --serve) serve=1 ;;
    --bench) bench=1 ;;
    *) echo "gpu_test.sh: '$flag' is none of --sanitize, --serve, --bench" >&2; exit 2 ;;
  esac
done

if [ -n "${SLORA_TEST_BIN:-}" ]; then
  bin=$SLORA_TEST_BIN
  cmake -S native/cuda -B out/native/cuda -G Ninja -DSLORA_CUDA_ARCHITECTURES="${SLORA_CUDA_ARCHITECTURES:-90}" >/dev/null
  cmake --build out/native/cuda | tail -n 3
  plugin=$PWD/out/native/cuda/lib/libslora_cuda.so
else
  ./build.sh build --cuda
  bin=out/native/release/bin
  plugin=$PWD/out/native/release/lib/libslora_cuda.so
fi
export SLORA_CUDA_PLUGIN=$plugin

logs=${OUT:-out}/gpu-test
rm -rf "$logs"
mkdir -p "$logs"
jobs=${SLORA_TEST_JOBS:-$(nproc)}
limit=${SLORA_TEST_SECONDS:-1800}

passed_in() { sed -nE 's/^\[  PASSED  \] ([0-9]+) tests?\.$/\1/p' "$1" | tail -n 1; }
failed_in() { sed -nE 's/^ *([0-9]+) FAILED TESTS?$/\1/p' "$1" | tail -n 1; }
skipped_in() { sed -nE 's/^\[  SKIPPED \] ([0-9]+) tests?, listed below:$/\1/p' "$1" | tail -n 1; }

start() { # name, environment and program
  local name=$1
  shift
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  (
    begin=$SECONDS
    status=0
    log=$logs/$name.log
    env GTEST_COLOR=no timeout "$limit" env "$@" >"$log" 2>&1 || status=$?
    bad=$(failed_in "$log")
    [ $status = 0 ] || bad=${bad:-1}
    bad=${bad:-0}
    ok=$(passed_in "$log") skipped=$(skipped_in "$log")
    echo "${ok:-0} $bad" >"$logs/$name.count"
    found=$(sed -nE 's/^=+ ((ERROR|RACECHECK) SUMMARY.*)/, \1/p' "$log" | tail -n 1)
    echo "$name: ${ok:-0} passed, $bad failed, ${skipped:-0} skipped, status $status, $((SECONDS - begin)) s$found"
    [ $status = 0 ] || grep -E -A4 'Failure|ERROR|error:|what\(\)' "$log" | head -n 40 || true
  ) &
}
# A part without a test would be no error, but for the sanitizer one that never came to the device.
tests_of() { "$bin/$1" --gtest_list_tests 2>/dev/null | grep -c '^  ' || true; }
share() { # parts, name, environment and program: each part runs every so manieth test
  local part parts=$1 name=$2
  shift 2
  for ((part = 0; part < parts; ++part)); do
    start "$name-$((part + 1))-of-$parts" GTEST_TOTAL_SHARDS="$parts" GTEST_SHARD_INDEX=$part "$@"
  done
}

# The longest first.
if [ $sanitize = 1 ]; then
  for tool in racecheck memcheck; do
    for program in cuda_lora_test cuda_attention_test cuda_lora_extras_test; do
      tests=$(tests_of $program)
      share $((tests > 0 && tests < 8 ? tests : 8)) "$tool-$program" compute-sanitizer --tool $tool --error-exitcode 9 "$bin/$program"
    done
    start "$tool-cuda_updated_gemm_test-few-rows" compute-sanitizer --tool $tool --error-exitcode 9 "$bin/cuda_updated_gemm_test" \
      '--gtest_filter=*.FewRows'
    share 8 "$tool-cuda_attention_test-without-warpgroups" SLORA_WARPGROUPS=0 compute-sanitizer --tool $tool --error-exitcode 9 \
      "$bin/cuda_attention_test"
  done
  # Of the matmuls those whose blocks write to each other. Racecheck takes a block that others still write to for one that
  # may have ended: it does not follow the barriers by which one waits for the other.
  [ ! -x "$bin/cuda_base_test" ] || start memcheck-cuda_base_test-tens-of-rows compute-sanitizer --tool memcheck \
    --error-exitcode 9 "$bin/cuda_base_test" '--gtest_filter=*.GemmOfTensOfRows'
fi
for program in "$bin"/cuda_*_test; do share 4 "$(basename "$program")" "$program"; done
# What devices other than of capability 9.0 run.
for program in cuda_attention_test cuda_base_test; do
  [ ! -x "$bin/$program" ] || share 4 "$program-without-warpgroups" SLORA_WARPGROUPS=0 "$bin/$program"
done
# Goldens of every model and adapter, in mixed batches; decode steps run from recordings.
for program in golden_test tiny_golden_test dialects_test abi_test mixed_batch_test ablation_test; do
  share 2 "cuda-$program" SLORA_TEST_BACKEND=cuda "$bin/$program"
done
start cuda-tiny_golden_test-without-graphs SLORA_TEST_BACKEND=cuda SLORA_GRAPHS=0 "$bin/tiny_golden_test"
# One rank that goes the way of several: through NCCL, its collectives in the recordings.
if [ -n "${SLORA_NCCL_LIBRARY:-}" ] || ldconfig -p | grep -q 'libnccl\.so\.2'; then
  for sharding in aligned full; do
    start "cuda-tiny_golden_test-group-of-one-$sharding" SLORA_TEST_BACKEND=cuda SLORA_TP_GROUP_OF_ONE=1 \
      SLORA_TEST_LORA_SHARDING=$sharding "$bin/tiny_golden_test"
  done
  # Sums in chunks on a stream beside the step's.
  start cuda-tiny_golden_test-overlapped SLORA_TEST_BACKEND=cuda SLORA_TP_GROUP_OF_ONE=1 SLORA_OVERLAP_TOKENS=8 "$bin/tiny_golden_test"
else
  echo "no NCCL: the group of one is not tested"
fi
wait
# How much memory a recording takes is seen in what the device has free: so nothing else may run.
start cuda-recorded_steps_test SLORA_TEST_BACKEND=cuda "$bin/recorded_steps_test"
wait

# The port is the server's choice, and the line in which it says so the sign that it serves.
serve_goldens() {
  local tool=${SLORA_TEST_CLI:-} server address='' status=0 i
  local log=$logs/serve.log
  [ -n "$tool" ] || { ./build.sh publish --cuda && tool=out/publish/cli/slora; }
  "$tool" serve --model assets/demo-model/base --adapters assets/demo-model/adapters --backend cuda --dtype f32 \
    --urls http://127.0.0.1:0 >"$log" 2>&1 &
  server=$!
  for ((i = 0; i < 600; ++i)); do
    address=$(grep -oE -m 1 'http://127\.0\.0\.1:[1-9][0-9]*' "$log" || true)
    if [ -n "$address" ] || ! kill -0 $server 2>/dev/null; then break; fi
    sleep 0.1
  done
  python3 tests/scripts/serve_goldens.py "$address" assets/demo-model/goldens | tee "$logs/serve-goldens.log" || status=$?
  kill $server 2>/dev/null || true
  wait $server || true
  local ok bad
  ok=$(sed -nE 's/^serve: ([0-9]+) passed, .*/\1/p' "$logs/serve-goldens.log")
  bad=$(sed -nE 's/^serve: .*, ([0-9]+) failed$/\1/p' "$logs/serve-goldens.log")
  [ $status = 0 ] || bad=${bad:-1}
  echo "${ok:-0} ${bad:-0}" >"$logs/serve.count"
}
[ $serve = 0 ] || serve_goldens

measure() { # name, program: figures that are nobody's verdict, but a program that fails is
  local name=$1 status=0
  shift
  echo "measuring $name"
  "$@" --json "$logs/$name.json" >"$logs/$name.txt" 2>&1 || status=$?
  [ $status = 0 ] || { tail -n 5 "$logs/$name.txt"; echo "0 1" >"$logs/$name.count"; }
}
if [ $bench = 1 ]; then
  measure step-llama-7b "$bin/bench_gpu_step" --model bench/models/llama-7b --sets base,r8,r16,mixed \
    --batches 1,8,16,32,64,128 --pool-gib 56
  # Adapters that nobody uses, in turn with none, for a card that grows warm grows slow.
  measure idle "$bin/bench_gpu_step" --model bench/models/llama-7b --sets base,idle,base,idle,base --prefill 0 \
    --batches 1,8,16,32,64,128 --pool-gib 56
  measure step-llama3-8b "$bin/bench_gpu_step" --model bench/models/llama3-8b --sets base,r16 --batches 1,8,32,64,128 \
    --prefill 0 --pool-gib 48
  measure step-llama-13b "$bin/bench_gpu_step" --model bench/models/llama-13b --sets base,r16 --batches 1,8,32 --prefill 0 \
    --pool-gib 40
  for kernels in lora attention matmul; do measure "$kernels" "$bin/bench_cuda_$kernels"; done
fi

passed=0
failed=0
for count in "$logs"/*.count; do
  read -r ok bad <"$count"
  passed=$((passed + ok))
  failed=$((failed + bad))
done
rm "$logs"/*.count
echo "$passed passed, $failed failed"
[ $failed = 0 ]
