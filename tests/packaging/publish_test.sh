#!/usr/bin/env bash
# The published server and tool answer on the demo model from a folder that holds nothing else, with no .NET installation
# in sight.
#   publish_test.sh SOURCE_ROOT PUBLISHED
set -euo pipefail
root=$(cd "$1" && pwd)
published=$(cd "$2" && pwd)
demo=$root/assets/demo-model
work=$(mktemp -d)
server_pid=
trap '[ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { printf 'publish_test: %s\n' "$*" >&2; exit 1; }
unset SLORA_NATIVE_LIBRARY
export DOTNET_ROOT=$work/no-dotnet

for kind in cli server; do
  cp -r "$published/$kind" "$work/$kind"
  # The CUDA plugin where it was published for GPUs.
  case $(cd "$work/$kind" && find . -type f | sort | xargs) in
    "./libslora.so ./slora" | "./libslora.so ./libslora_cuda.so ./slora") ;;
    *) fail "$kind must be slora, libslora.so, perhaps libslora_cuda.so, and nothing else: $(ls "$work/$kind")" ;;
  esac
  answer=$("$work/$kind/slora" generate --model "$demo/base" --adapters "$demo/adapters" --adapter upper --dtype f32 \
    --prompt $'Input: life off\nOutput:' 2>"$work/err") || { cat "$work/err"; fail "$kind: generate failed"; }
  [ "$answer" = " LIFE OFF" ] || fail "$kind: generate gives '$answer'"

  "$work/$kind/slora" serve --model "$demo/base" --adapters "$demo/adapters" --dtype f32 --pool-bytes 67108864 \
    --urls http://127.0.0.1:0 >"$work/out" 2>"$work/err" &
  server_pid=$!
  for _ in $(seq 300); do
    url=$(sed -n 's/^serving at //p' "$work/out")
    [ -z "$url" ] || break
    kill -0 "$server_pid" 2>/dev/null || { cat "$work/err"; fail "$kind: serve ended"; }
    sleep 0.1
  done
  [ -n "$url" ] || fail "$kind: serve does not say where"
  curl -sS --max-time 60 "$url/completions" -H 'Content-Type: application/json' \
    -d '{"model":"reverse","prompt":"Input: mother asked\nOutput:","max_tokens":16,"temperature":0}' >"$work/answer"
  grep -q '"text":" asked mother"' "$work/answer" || fail "$kind: serve answers $(cat "$work/answer")"
  kill "$server_pid"
  wait "$server_pid" || fail "$kind: serve ended with $? on SIGTERM"
  server_pid=
  echo "publish_test: $kind passed ($(du -k "$work/$kind/slora" | cut -f1) KiB)"
done
