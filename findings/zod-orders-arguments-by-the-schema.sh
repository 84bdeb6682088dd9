#!/usr/bin/env bash
# zod puts the keys of an object in the order of the schema.
#
# Expected (a guess, made before running): `parse` checks an object and returns its keys in the order in which the model wrote
#   them.
# What happens: the keys come in the order of the schema. Where an agent writes the parsed call into the history, the prompt no
#   longer repeats the tokens that were sampled, and their log-probabilities belong to another text. `z.looseObject` orders them in
#   the same way, with unknown keys last.
# Versions: zod 4.6.7 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" zod@4.6.7
cd "$folder"

node - <<'JAVASCRIPT'
const z = require("zod");

const written = '{"top_k":3,"query":"tower"}';
const shape = { query: z.string(), top_k: z.number() };
const parsed = { object: z.object(shape), looseObject: z.looseObject(shape), record: z.record(z.string(), z.any()) };
console.log("version: zod", require("./node_modules/zod/package.json").version);
console.log("expected:", written);
const seen = {};
for (const [name, schema] of Object.entries(parsed)) {
  seen[name] = JSON.stringify(schema.parse(JSON.parse(written)));
  console.log(`seen: ${name}:`, seen[name]);
}
const sorted = '{"query":"tower","top_k":3}';
const asDescribed = seen.object === sorted && seen.looseObject === sorted && seen.record === written;
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
