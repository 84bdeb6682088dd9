#!/usr/bin/env bash
# zod reads a JSON schema without the keys that stand beside `anyOf`, `$ref` and `enum`.
#
# Expected (a guess, made before running): `z.fromJSONSchema` applies each key of a schema or refuses it, as it refuses `not`.
# What happens: a bound beside `anyOf` or `$ref` and a pattern beside `enum` are left out, and a required key that `properties`
#   does not name is not required. Arguments of a tool call that the schema forbids are accepted, with no word of it.
# Versions: zod 4.6.7 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" zod@4.6.7
cd "$folder"

node - <<'JAVASCRIPT'
const z = require("zod");

const number = { type: "number" };
const cases = [
  ["a bound beside anyOf", { anyOf: [number, { type: "string" }], minimum: 5 }, 1],
  ["a bound beside $ref", { $defs: { number }, $ref: "#/$defs/number", minimum: 5 }, 1],
  ["a pattern beside enum", { type: "string", enum: ["a", "b"], pattern: "a" }, "b"],
  ["a required key that is not named", { type: "object", properties: { b: number }, required: ["a"] }, { b: 1 }],
  ["a bound by itself", { type: "number", minimum: 5 }, 1],
];
console.log("version: zod", require("./node_modules/zod/package.json").version);
console.log("expected: each value is refused");
const seen = cases.map(([name, schema, value]) => {
  const accepted = z.fromJSONSchema(schema).safeParse(value).success;
  console.log(`seen: ${name}: ${accepted ? "accepted" : "refused"}`);
  return accepted;
});
const asDescribed = seen.join() === "true,true,true,true,false";
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
