#!/usr/bin/env bash
# A machine with only the packages: copies the samples into an empty folder outside the checkout, beside the packed files,
# and builds and runs each there with an empty package folder. Nothing but the demo model is read from the checkout.
#   packages_test.sh SOURCE_ROOT PACKAGES
# Packages that are not SLoRA's come from NuGet's package folder of this machine, then from its usual sources; the
# mapping below keeps SLoRA's own from anywhere but the packed files.
set -euo pipefail
root=$(cd "$1" && pwd)
packages=$(cd "$2" && pwd)
demo=$root/assets/demo-model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'packages_test: %s\n' "$*" >&2; exit 1; }
passed() { printf 'packages_test: %s passed (%s s)\n' "$1" "$SECONDS"; }

cache=${NUGET_PACKAGES:-$HOME/.nuget/packages}
export NUGET_PACKAGES=$work/nuget
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 MSBUILDDISABLENODEREUSE=1
unset SLORA_NATIVE_LIBRARY
mkdir -p "$work/samples" "$cache"
cp -r "$packages" "$work/feed"
cp -r "$root"/samples/{worker,chat,scripting} "$work/samples"
find "$work/samples" \( -name bin -o -name obj \) -prune -exec rm -rf {} +
cat >"$work/samples/nuget.config" <<TEXT
<configuration>
  <packageSources><add key="slora" value="$work/feed" /><add key="cache" value="$cache" /></packageSources>
  <packageSourceMapping>
    <packageSource key="slora"><package pattern="SLoRA" /><package pattern="SLoRA.*" /></packageSource>
    <packageSource key="cache"><package pattern="*" /></packageSource>
    <packageSource key="nuget.org"><package pattern="*" /></packageSource>
  </packageSourceMapping>
</configuration>
TEXT

build() { # sample
  dotnet publish "$work/samples/$1" -c Release -v quiet -clp:NoSummary -o "$work/$1" >"$work/log" 2>&1 ||
    { cat "$work/log"; fail "$1 does not build from the packages"; }
}

expect() { # name, expected file
  diff "$2" "$work/out" || { cat "$work/err"; fail "$1 answers other than the goldens"; }
  passed "$1"
}

build worker
[ "$(find "$work/worker" -name libslora.so | wc -l)" = 1 ] || fail "the worker's folder must have libslora.so once"
(cd "$work/worker" && dotnet Worker.dll --SLoRA:Model:Path="$demo/base" --SLoRA:Adapters:Directories:0="$demo/adapters" \
  >"$work/out" 2>"$work/err") || { cat "$work/err"; fail "the worker failed"; }
printf 'upper\t LIFE OFF\nreverse\t asked mother\nroman\t DCCLVI\nbase\t sun was shining brightly, and the sun was\n' >"$work/want"
head -n 3 "$work/out" >"$work/three" && head -n 3 "$work/want" | diff - "$work/three" || { cat "$work/out" "$work/err"; fail "the worker answers other than the goldens"; }
tail -n 1 "$work/out" | grep -q "$(tail -n 1 "$work/want")" || { cat "$work/out"; fail "the base model answers other than the golden"; }
passed worker

build chat
dotnet "$work/chat/Chat.dll" "$demo/base" "$demo/adapters" "Of which country is Freetown the capital?" >"$work/out" 2>"$work/err" ||
  { cat "$work/err"; fail "chat failed"; }
grep -qx 'chat: Freetown is the capital of Sierra Leone.' "$work/out" || { cat "$work/out" "$work/err"; fail "chat answers other than the golden"; }
[ "$(wc -l <"$work/out")" = 3 ] || { cat "$work/out"; fail "chat must answer with each of its three clients"; }
passed chat

# The script's own nuget.config names only the folder of packages; the rest is in the package folder since the above.
sed -i "s#\.\./\.\./out/packages#$work/feed#" "$work/samples/scripting/nuget.config"
(cd "$work/samples/scripting" && dotnet run generate.cs -- "$demo/base" "$demo/adapters" upper 'Input: life off\nOutput:' \
  >"$work/out" 2>"$work/err") || { cat "$work/out" "$work/err"; fail "the script failed"; }
printf ' LIFE OFF\n' >"$work/want"
expect script "$work/want"

# A C program, from an installed tree.
[ ! -d "$root/out/native/release" ] || "$root/tests/packaging/install_test.sh" "$root" "$root/out/native/release"
