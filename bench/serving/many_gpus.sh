#!/usr/bin/env bash
# On a host with several GPUs: tensor parallel over N of them, for each N given. Builds, then
#   1. runs every golden over N ranks: aligned and full sharding of LoRA, with recorded steps and without, and with sums in chunks;
#   2. times decode steps (1, 32, 128 rows) and a prefill of 8,192 tokens of the Llama shapes: base, and 32 different
#      adapters of lora_ranks 8, 16, 32, 64; with the time of the collectives alone, the loss by LoRA, the speed-up and
#      what the cost model says;
#   3. replays the trace saturate-n1000-r60 on the 70B shape, to the end of its window, where a command-line tool is at hand.
# NVLink multicast stays off: the library sets NCCL_NVLS_ENABLE=0 before it loads NCCL.
#
# usage: bench/serving/many_gpus.sh [N ...]          default: 1 2 4 8, as many as there are
#   SLORA_TEST_BIN      folder of test and benchmark programs built elsewhere, where only nvcc is at hand
#   SLORA_CLI           the command-line tool, published self-contained; without it no replay
#   SLORA_TP_STEPS      some of: goldens steps replay; default all
#   SLORA_TP_SHAPES     default: llama-7b llama-13b llama-70b (bench/models)
#   SLORA_TP_BACKEND    cuda; host tries the script where there is no GPU
#   SLORA_TP_POOL_GIB   pools of each rank while steps are timed, tried in turn until one has room; default 60 24 10
#   SLORA_TP_LIMIT      seconds after which one program counts as failed, default 900
#   SLORA_TP_CARD       which prediction is shown, by its name in bench/cards; default: the one that fits the card's name
# Predictions come from bench/results/tp-predictions.json ('slora bench tp --predict-only --json' makes it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

backend=${SLORA_TP_BACKEND:-cuda}
wanted=${SLORA_TP_STEPS:-goldens steps replay}
shapes=${SLORA_TP_SHAPES:-llama-7b llama-13b llama-70b}
limit=${SLORA_TP_LIMIT:-900}
out=${OUT:-out}/many-gpus
mkdir -p "$out"

if [ "$backend" = cuda ]; then
  command -v nvidia-smi >/dev/null || { echo "many_gpus: no nvidia-smi: this needs GPUs" >&2; exit 1; }
  present=$(nvidia-smi --list-gpus | wc -l)
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | sort | uniq -c
  nvidia-smi topo -m >"$out/topology.txt" 2>&1 || true
else
  present=8
fi
sizes=()
for n in "${@:-1 2 4 8}"; do
  for size in $n; do [ "$size" -gt "$present" ] || sizes+=("$size"); done
done
[ ${#sizes[@]} -gt 0 ] || { echo "many_gpus: there are $present GPUs, fewer than any size asked for" >&2; exit 1; }
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $present devices, sizes ${sizes[*]}"

if [ -n "${SLORA_TEST_BIN:-}" ]; then
  bin=$SLORA_TEST_BIN
  if [ "$backend" = cuda ]; then
    cmake -S native/cuda -B out/native/cuda -G Ninja -DSLORA_CUDA_ARCHITECTURES="${SLORA_CUDA_ARCHITECTURES:-90}" >/dev/null
    cmake --build out/native/cuda | tail -n 3
    export SLORA_CUDA_PLUGIN=$PWD/out/native/cuda/lib/libslora_cuda.so
  fi
else
  if [ "$backend" = cuda ]; then
    ./build.sh build --cuda
    export SLORA_CUDA_PLUGIN=$PWD/out/native/release/lib/libslora_cuda.so
  fi
  bin=out/native/release/bin
fi

failed=0
golden() { # ranks, sharding, graphs, program, more of the environment
  local name="goldens-tp$1-$2-graphs$3-$4${5:+-overlapped}" status=0 begin=$SECONDS
  env "${@:5}" SLORA_TEST_BACKEND="$backend" SLORA_TEST_TP="$1" SLORA_TEST_LORA_SHARDING="$2" SLORA_GRAPHS="$3" SLORA_TP_GROUP_OF_ONE=1 \
    timeout "$limit" "$bin/$4" >"$out/$name.log" 2>&1 || status=$?
  echo "$name: status $status, $(sed -nE 's/^\[  PASSED  \] //p' "$out/$name.log" | tail -n 1) $((SECONDS - begin)) s"
  if [ $status != 0 ]; then
    failed=$((failed + 1))
    grep -E -A4 'Failure|error|what\(\)|rank ' "$out/$name.log" | head -n 20 || true
  fi
}

if [[ " $wanted " == *" goldens "* ]]; then
  for size in "${sizes[@]}"; do
    for sharding in aligned full; do
      for graphs in 1 0; do
        for program in golden_test tiny_golden_test mixed_batch_test; do golden "$size" $sharding $graphs $program; done
      done
      for program in golden_test tiny_golden_test; do golden "$size" $sharding 1 $program SLORA_OVERLAP_TOKENS=8; done
    done
  done
fi

no_room() { grep -qE 'out of memory|OUT_OF_MEMORY|cannot allocate|pool_bytes|DEFERRED_PAGES' "$1"; }
steps() { # file without ending, shape, ranks, sharding, more options
  timeout "$limit" "$bin/bench_tp_step" --model "bench/models/$2" --tp "$3" --sharding "$4" --backend "$backend" \
    --prefill "${SLORA_TP_PREFILL:-8192}" --json "$1.json" "${@:5}" >"$1.log" 2>&1
}

if [[ " $wanted " == *" steps "* ]]; then
  for shape in $shapes; do
    for size in "${sizes[@]}"; do
      for sharding in aligned full; do
        if [ "$size" = 1 ] && [ $sharding = full ]; then continue; fi
        file=$out/steps-$shape-tp$size-$sharding
        # The largest pool there is room for; weights that leave little: the base alone, with what 32 rows need.
        for try in ${SLORA_TP_POOL_GIB:-60 24 10} base; do
          status=0
          if [ "$try" = base ]; then
            steps "$file" "$shape" "$size" $sharding --pool-gib 6 --batches 1,32 --sets base || status=$?
          else
            steps "$file" "$shape" "$size" $sharding --pool-gib "$try" --batches "${SLORA_TP_BATCHES:-1,32,128}" || status=$?
          fi
          [ $status != 0 ] && no_room "$file.log" || break
        done
        if [ $status != 0 ]; then
          # A shape that does not fit so few cards is no failure; the line says which it was.
          echo "steps $shape, $size ranks, $sharding: status $status: $(tail -n 1 "$file.log")"
          no_room "$file.log" || failed=$((failed + 1))
        fi
      done
    done
  done
  python3 bench/serving/many_gpus_table.py "$out" bench/results/tp-predictions.json "${SLORA_TP_CARD:-}" | tee "$out/steps.txt"
fi

if [[ " $wanted " == *" replay "* ]]; then
  if [ -n "${SLORA_CLI:-}" ]; then
    for size in "${sizes[@]}"; do
      status=0
      timeout "$limit" "$SLORA_CLI" bench --synthetic llama-70b --trace saturate-n1000-r60 --window --set 64,32,16,8 --distinct 32 --no-bound --tp "$size" --backend "$backend" \
        --json "$out/replay-70b-tp$size.json" >"$out/replay-70b-tp$size.log" 2>&1 || status=$?
      echo "replay 70b, $size ranks: status $status: $(tail -n 1 "$out/replay-70b-tp$size.log")"
      [ $status = 0 ] || no_room "$out/replay-70b-tp$size.log" || failed=$((failed + 1))
    done
  else
    echo "replay: not run, SLORA_CLI is not set"
  fi
fi
echo "$failed failed"
[ $failed = 0 ]
