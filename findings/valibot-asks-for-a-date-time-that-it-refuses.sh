#!/usr/bin/env bash
# valibot describes a date and time in a JSON Schema whose every text it refuses.
#
# Expected (a guess, made before running): a check without a counterpart in JSON Schema, such as `isoDateTime`, which takes a time
#   without a zone, is refused, as other such checks are.
# What happens: it becomes the format `date-time`. That format demands seconds and a zone, and valibot's check admits neither, so no
#   text passes both. The same is true of `isoTime` and the format `time`. A model that follows its schema, or is held to it by a
#   grammar, fails the check each time, and the time that the check wants is no valid answer to the schema.
# Versions: valibot 1.5.0, @valibot/to-json-schema 1.8.0, ajv 8.20.0, ajv-formats 3.0.1 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" \
  valibot@1.5.0 @valibot/to-json-schema@1.8.0 ajv@8.20.0 ajv-formats@3.0.1
cd "$folder"

node - <<'JAVASCRIPT'
const v = require("valibot");
const { toJsonSchema } = require("@valibot/to-json-schema");
const ajv = require("ajv-formats").default(new (require("ajv").default)());

function verdicts(check, texts) {
  const schema = v.pipe(v.string(), check);
  const json = toJsonSchema(schema);
  const admits = ajv.compile(json);
  return { format: json.format, texts: texts.map((text) => [text, admits(text), v.safeParse(schema, text).success]) };
}

let words = "converted";
try {
  toJsonSchema(v.pipe(v.string(), v.minWords("en", 2)));
} catch {
  words = "refused";
}
const dates = verdicts(v.isoDateTime(), ["2026-11-29T10:30:00Z", "2026-11-29T10:30Z", "2026-11-29T10:30:00", "2026-11-29T10:30"]);
const times = verdicts(v.isoTime(), ["10:30:00Z", "10:30Z", "10:30:00", "10:30"]);
const version = (name) => `${name} ${require(`./node_modules/${name}/package.json`).version}`;
console.log("versions:", ["valibot", "@valibot/to-json-schema", "ajv", "ajv-formats"].map(version).join(", "));
console.log("expected: a refusal, or texts that pass both; a number of words is", words);
console.log("seen (text, valid by the JSON Schema, valid by valibot):");
console.log(JSON.stringify(dates));
console.log(JSON.stringify(times));
const apart = (found) => JSON.stringify(found.texts.map((row) => row.slice(1))) === "[[true,false],[false,false],[false,false],[false,true]]";
const asDescribed = words === "refused" && dates.format === "date-time" && times.format === "time" && apart(dates) && apart(times);
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
