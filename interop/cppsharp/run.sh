#!/bin/sh
# Writes the CppSharp bindings to out/cppsharp, or says why it cannot. Exit status 3: the package cannot be restored here.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
project="$here/SLoRA.CppSharp.csproj"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if ! dotnet restore "$project" > "$log" 2>&1; then
  version=$(sed -n 's/.*Include="CppSharp" Version="\[\(.*\)\]".*/\1/p' "$project")
  echo "bindings: the package CppSharp $version cannot be restored from the NuGet sources of this machine:" >&2
  grep -m1 -o 'error.*' "$log" >&2 || cat "$log" >&2
  echo "bindings: nothing was written. The committed bindings (interop/generated) do not need it." >&2
  exit 3
fi
dotnet run --no-restore --project "$project" -- "$root/interop" "$root/out/cppsharp"
echo "wrote $root/out/cppsharp"
