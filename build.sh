#!/usr/bin/env bash
# The one door to building, testing and running SLoRA. `./build.sh` alone lists the verbs; build.ps1 has the same ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly VERBS="doctor build test lint format bindings demo slora bench gpu-test asan tsan fuzz soak pack publish package-test ci"
readonly CONFIGURATION=Release
readonly CLI=managed/SLoRA.Cli/bin/$CONFIGURATION/net10.0/slora.dll

# Debian packages that building, testing and linting need, and a file or command that shows each is there.
readonly NEEDS=(
  "g++:g++" "cmake:cmake" "ninja-build:ninja" "nlohmann-json3-dev:/usr/include/nlohmann/json.hpp"
  "libgtest-dev:/usr/include/gtest/gtest.h" "clang-format:clang-format"
  "libclang1-14:/usr/lib/llvm-14/lib/libclang.so.1" "make:make" "pkg-config:pkg-config" "curl:curl"
)

usage() {
  cat <<TEXT
usage: ./build.sh VERB [ARGS]

  doctor     says what is there, what is missing and how to get it
  build      builds native and managed                      [--cuda: the CUDA plugin too]
  test       builds and passes all tests; ends with one line "N passed, N failed"
  lint       checks formats, bindings and the C headers' rules
  format     mends formats
  bindings   regenerates interop/generated from the headers  [--check | --with cppsharp]
  demo       serves the demo model with its 18 adapters and shows one mixed batch  [--once]
  slora      runs the command-line tool, for example: ./build.sh slora serve --help
  bench      measures kernels and steps on this machine      [ARGS of bench_step]
  gpu-test   on a machine with a GPU: builds the CUDA plugin, passes the kernel and model tests on it
             [--sanitize] [--serve: goldens over HTTP too] [--bench: then measures]
  asan       native tests under AddressSanitizer and UBSan
  tsan       native tests under ThreadSanitizer
  fuzz       fuzzers of everything that reads foreign bytes   [SECONDS of each, 300; READER...]
  soak       5,000 adapters on the demo model in a small pool  [SECONDS, 600]
  pack       NuGet packages with the native library, into out/packages
  publish    the server as one self-contained file and the tool as NativeAOT, into out/publish  [--cuda: for GPUs too]
  package-test  packs, publishes, and uses what came from empty folders outside the checkout
  ci         lint, then test
TEXT
}

say() { printf '%s\n' "$*"; }
die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

is_there() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

missing_packages() {
  local need
  for need in "${NEEDS[@]}"; do
    is_there "${need#*:}" || printf '%s ' "${need%%:*}"
  done
}

readonly SDK_INSTALL='curl -sSL https://dot.net/v1/dotnet-install.sh | bash -s -- --channel 10.0 && export PATH="$HOME/.dotnet:$PATH"'

has_sdk() { command -v dotnet >/dev/null 2>&1 && dotnet --list-sdks 2>/dev/null | grep -q '^1[0-9]\.'; }

# Installs what is missing (as root), or says exactly how.
setup() {
  has_sdk || die "the .NET 10 SDK is missing; its official install command is: $SDK_INSTALL"
  local packages
  packages=$(missing_packages)
  [ -n "$packages" ] || return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "Installing: $packages"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
  else
    die "missing packages; run: sudo apt-get update && sudo apt-get install -y $packages"
  fi
}

build_native() { # preset, targets if not all
  [ -f "out/native/$1/build.ninja" ] || cmake --preset "$1" >/dev/null
  cmake --build --preset "$1" ${2:+--target "${@:2}"} | grep -v '^ninja: no work to do' || [ "${PIPESTATUS[0]}" = 0 ]
}

build_managed() {
  dotnet build SLoRA.sln -c $CONFIGURATION --nologo -v quiet -clp:NoSummary
}

verb_doctor() {
  local need command_or_file
  if has_sdk; then say "ok       .NET SDK $(dotnet --version)"; else say "missing  .NET 10 SDK: $SDK_INSTALL"; fi
  for need in "${NEEDS[@]}"; do
    command_or_file=${need#*:}
    if is_there "$command_or_file"; then say "ok       ${need%%:*}"; else say "missing  ${need%%:*}: apt-get install ${need%%:*}"; fi
  done
  if [ -f out/native/release/lib/libslora.so ] && [ -f "$CLI" ]; then
    dotnet "$CLI" doctor
  else
    say "not built yet: ./build.sh build"
  fi
}

# nvcc: whatever is installed, else Debian's (CUDA 11.8, of the component non-free, with the g++ 11 it needs).
setup_cuda() {
  local nvcc
  for nvcc in nvcc /usr/local/cuda/bin/nvcc; do
    if is_there "$nvcc"; then export CUDACXX=$nvcc; return; fi
  done
  local add='sed "s/^Components:.*/Components: contrib non-free/" /etc/apt/sources.list.d/debian.sources > /etc/apt/sources.list.d/debian-nonfree.sources'
  local get='apt-get update -qq && apt-get install -y -qq --no-install-recommends nvidia-cuda-toolkit g++-11'
  [ -f /etc/apt/sources.list.d/debian.sources ] || die "nvcc is missing: install CUDA 11.8 or later"
  [ "$(id -u)" = 0 ] || die "nvcc is missing; run as root: $add && $get"
  say "Installing: nvidia-cuda-toolkit g++-11 (1.6 GB)"
  eval "$add"
  DEBIAN_FRONTEND=noninteractive bash -c "$get" >/dev/null
  export CUDACXX=nvcc
}

build_plugin() {
  setup_cuda
  cmake --preset release -DSLORA_CUDA=ON >/dev/null
  build_native release slora_cuda
}

verb_build() {
  setup
  [ "${1:-}" != --cuda ] || build_plugin
  build_native release
  build_managed
}

# The tests of real vocabularies fetch them by npm; without it they are skipped, and say so.
fetch_vocabularies() {
  if ! is_there npm && [ "$(id -u)" = 0 ] && is_there apt-get; then
    say "Installing: npm"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >/dev/null; } || true
  fi
  tests/managed/SLoRA.Tokenizers.Tests/oracle/fetch.sh
}

# The test that looks at the bench report needs a browser; without one it is skipped, and says so.
fetch_browser() {
  ! is_there chromium && [ "$(id -u)" = 0 ] && is_there apt-get || return 0
  say "Installing: chromium"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || true
}

verb_test() {
  verb_build
  fetch_vocabularies
  fetch_browser
  local log=out/test passed=0 failed=0 status=0
  mkdir -p $log
  ctest --test-dir out/native/release --output-on-failure --no-tests=error 2>&1 | tee $log/ctest.log || status=1
  timeout --kill-after=10 1500 dotnet test --solution SLoRA.sln -c $CONFIGURATION --no-build 2>&1 | tee $log/dotnet.log || status=1
  # ctest: "97% tests passed, 1 tests failed out of 30"; dotnet: "  failed: 0" and "  succeeded: 120".
  local total ctest_failed
  total=$(sed -nE 's/.*tests failed out of ([0-9]+).*/\1/p' $log/ctest.log | tail -n 1)
  ctest_failed=$(sed -nE 's/.*, ([0-9]+) tests failed out of.*/\1/p' $log/ctest.log | tail -n 1)
  failed=$(sed -nE 's/^ *failed: ([0-9]+)$/\1/p' $log/dotnet.log | tail -n 1)
  passed=$(sed -nE 's/^ *succeeded: ([0-9]+)$/\1/p' $log/dotnet.log | tail -n 1)
  [ -n "$total" ] && [ -n "$passed" ] || status=1
  passed=$((${passed:-0} + ${total:-0} - ${ctest_failed:-0}))
  failed=$((${failed:-0} + ${ctest_failed:-0}))
  [ $status = 0 ] || [ $failed != 0 ] || failed=1
  say "$passed passed, $failed failed"
  [ $failed = 0 ]
}

# The C headers are laid out by hand: their comments are the manual.
native_files() { git ls-files -- '*.cpp' '*.hpp' '*.h' '*.c' '*.cu' '*.cuh' ':!:interop/include'; }

verb_format() {
  setup
  native_files | xargs clang-format -i
  dotnet format whitespace SLoRA.sln --exclude interop/generated
}

verb_lint() {
  setup
  native_files | xargs clang-format --dry-run -Werror
  dotnet format whitespace SLoRA.sln --verify-no-changes --exclude interop/generated
  verb_bindings --check
  verb_bindings --lint
}

verb_bindings() {
  setup
  if [ "${1:-}" = --with ] && [ "${2:-}" = cppsharp ]; then
    bash interop/cppsharp/run.sh
    return
  fi
  dotnet run --project interop/generator/SLoRA.BindingsGenerator -c $CONFIGURATION -- "$@"
}

# What the tool needs and no more: tests and benches take most of a build.
build_tool() {
  setup
  local plugin=()
  ! grep -qs '^SLORA_CUDA:BOOL=ON' out/native/release/CMakeCache.txt || plugin=(slora_cuda)
  build_native release slora "${plugin[@]}"
  dotnet build managed/SLoRA.Cli -c $CONFIGURATION --nologo -v quiet -clp:NoSummary
}

verb_demo() {
  build_tool
  dotnet "$CLI" demo --model assets/demo-model/base --adapters assets/demo-model/adapters "$@"
}

verb_slora() {
  build_tool >&2
  exec dotnet "$CLI" "$@"
}

verb_bench() {
  setup
  build_native release
  mkdir -p out/bench
  out/native/release/bin/bench_host_kernels --json out/bench/host-kernels.json
  out/native/release/bin/bench_step --models bench/models --json out/bench/step.json "$@"
}

verb_gpu-test() { bash tests/scripts/gpu_test.sh "$@"; }

sanitized_tests() { # preset, environment
  setup
  build_native "$1"
  env "${@:2}" ctest --test-dir "out/native/$1" --output-on-failure --no-tests=error
}

verb_asan() { sanitized_tests asan ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1; }
verb_tsan() { sanitized_tests tsan TSAN_OPTIONS=halt_on_error=1:allocator_may_return_null=1; }

# Native readers under libFuzzer, managed ones under random changes of good inputs. What is found lies in out/fuzz/findings.
verb_soak() {
  setup
  build_native release slora
  SLORA_SOAK_SECONDS=${1:-600} dotnet run --project tests/managed/SLoRA.Engine.Tests -c $CONFIGURATION -- -trait Category=Soak -parallelMode none
}

verb_fuzz() {
  setup
  compgen -G "/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*" >/dev/null || die "the fuzzers need clang; run: apt-get install -y clang-14 libclang-rt-14-dev"
  local seconds=${1:-300} status=0 project
  build_native fuzz
  tests/fuzz/run.sh "$seconds" "$PWD/out/native/fuzz/bin" "${@:2}" || status=1
  [ $# -le 1 ] || return $status
  for project in tests/managed/SLoRA.Tokenizers.Tests tests/integration/SLoRA.Integration.Tests; do
    SLORA_FUZZ_SECONDS=$seconds dotnet run --project $project -c $CONFIGURATION -- -trait Category=Fuzz -parallelMode none || status=1
  done
  return $status
}

verb_pack() {
  setup
  build_native release slora
  rm -rf out/packages
  dotnet pack packages.slnf -c $CONFIGURATION --nologo -v quiet -clp:NoSummary -o out/packages
  ls out/packages
}

# The server: the runtime, precompiled, in one file; starts fast and has every feature of ASP.NET Core. The tool: the same
# program compiled ahead of time, small and at once there. The native library lies beside each, to be replaceable.
verb_publish() {
  setup
  local with_cuda=0
  [ "${1:-}" != --cuda ] || with_cuda=1
  [ $with_cuda = 0 ] || build_plugin
  build_native release slora
  rm -rf out/publish
  publish_cli out/publish/server -p:PublishSingleFile=true -p:PublishReadyToRun=true --self-contained
  publish_cli out/publish/cli -p:PublishAot=true
  [ $with_cuda = 0 ] || for kind in server cli; do cp out/native/release/lib/libslora_cuda.so out/publish/$kind; done
}

publish_cli() { # folder, options
  dotnet publish managed/SLoRA.Cli -c $CONFIGURATION -r linux-x64 --nologo -v quiet -o "$1" "${@:2}"
  rm -f "$1"/*.dbg "$1"/*.xml "$1"/*.json
  cp out/native/release/lib/libslora.so "$1"
}

verb_package-test() {
  verb_pack
  verb_publish
  tests/packaging/packages_test.sh "$PWD" out/packages
  tests/packaging/publish_test.sh "$PWD" out/publish
}

verb_ci() {
  verb_lint
  setup
  build_plugin
  verb_test
}

if [ $# = 0 ]; then
  usage
  exit 0
fi
verb=$1
shift
case " $VERBS " in
  *" $verb "*) "verb_$verb" "$@" ;;
  *) usage >&2; die "there is no verb '$verb'" ;;
esac
