#!/usr/bin/env bash
# On a machine with a GPU: builds the CUDA plugin, passes the kernel tests, then the model tests on the CUDA backend.
# SLORA_TEST_BIN names a folder of test programs built elsewhere, for a machine that has nvcc but not what the rest
# needs. --sanitize runs the kernel tests of LoRA and attention under compute-sanitizer as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
sanitize=0
[ "${1:-}" != --sanitize ] || sanitize=1

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
mkdir -p "$logs"
passed=0
failed=0
run() { # name, environment and program
  local name=$1 begin=$SECONDS status=0
  shift
  env "$@" >"$logs/$name.log" 2>&1 || status=$?
  local ok bad skipped
  ok=$(sed -nE 's/^\[  PASSED  \] ([0-9]+) tests?\.$/\1/p' "$logs/$name.log" | tail -n 1)
  bad=$(grep -cE '^\[  FAILED  \] .*[^s]$|^\[  FAILED  \] .*\(' "$logs/$name.log" || true)
  skipped=$(sed -nE 's/^\[  SKIPPED \] ([0-9]+) tests?, listed below:$/\1/p' "$logs/$name.log" | tail -n 1)
  [ $status = 0 ] || [ "${bad:-0}" != 0 ] || bad=1
  passed=$((passed + ${ok:-0}))
  failed=$((failed + ${bad:-0}))
  echo "$name: ${ok:-0} passed, ${bad:-0} failed, ${skipped:-0} skipped, status $status, $((SECONDS - begin)) s"
  if [ $status != 0 ]; then grep -E -A4 'Failure|ERROR|error:|what\(\)' "$logs/$name.log" | head -n 40; fi
}

for program in "$bin"/cuda_*_test; do run "$(basename "$program")" "$program"; done
# Goldens of every model and adapter, in mixed batches; decode steps run from recordings.
for program in tiny_golden_test golden_test dialects_test abi_test mixed_batch_test recorded_steps_test ablation_test; do
  run "cuda-$program" SLORA_TEST_BACKEND=cuda "$bin/$program"
done
run cuda-tiny_golden_test-without-graphs SLORA_TEST_BACKEND=cuda SLORA_GRAPHS=0 "$bin/tiny_golden_test"
# One rank that goes the way of several: through NCCL, its collectives in the recordings.
if [ -n "${SLORA_NCCL_LIBRARY:-}" ] || ldconfig -p | grep -q 'libnccl\.so\.2'; then
  for sharding in aligned full; do
    run "cuda-tiny_golden_test-group-of-one-$sharding" SLORA_TEST_BACKEND=cuda SLORA_TP_GROUP_OF_ONE=1 \
      SLORA_TEST_LORA_SHARDING=$sharding "$bin/tiny_golden_test"
  done
  # Sums in chunks on a stream beside the step's.
  run cuda-tiny_golden_test-overlapped SLORA_TEST_BACKEND=cuda SLORA_TP_GROUP_OF_ONE=1 SLORA_OVERLAP_TOKENS=8 "$bin/tiny_golden_test"
else
  echo "no NCCL: the group of one is not tested"
fi

if [ $sanitize = 1 ]; then
  for tool in memcheck racecheck; do
    for program in cuda_lora_test cuda_attention_test; do
      run "$tool-$program" compute-sanitizer --tool $tool --error-exitcode 9 "$bin/$program"
      grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$logs/$tool-$program.log" || true
    done
  done
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
