#!/usr/bin/env bash
# build.sh and build.ps1 offer the same verbs, and each has a body for every one it lists.
set -euo pipefail
root=$1
sh_verbs=$(sed -nE 's/^readonly VERBS="(.*)"$/\1/p' "$root/build.sh")
ps_verbs=$(sed -nE 's/^\$Verbs = "(.*)" -split " "$/\1/p' "$root/build.ps1")
[ -n "$sh_verbs" ] || { echo "build.sh lists no verbs"; exit 1; }
[ "$sh_verbs" = "$ps_verbs" ] || { printf 'build.sh:  %s\nbuild.ps1: %s\n' "$sh_verbs" "$ps_verbs"; exit 1; }
for verb in $sh_verbs; do
  grep -qE "^verb_$verb\(\)" "$root/build.sh" || { echo "build.sh has no verb_$verb"; exit 1; }
  grep -qE "^    \"$verb\" \{" "$root/build.ps1" || { echo "build.ps1 has no case for $verb"; exit 1; }
  "$root/build.sh" | grep -qE "^  $verb " || { echo "build.sh does not explain $verb"; exit 1; }
done
! "$root/build.sh" no-such-verb >/dev/null 2>&1 || { echo "build.sh accepts a verb that it does not have"; exit 1; }
