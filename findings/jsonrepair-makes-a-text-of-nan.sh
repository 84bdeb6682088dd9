#!/usr/bin/env bash
# jsonrepair makes a text of the NaN that Python's json module writes.
#
# Expected (a guess, made before running): a score of `NaN` becomes null, as Python's `None` does and as JSON.stringify writes it,
#   or is an error.
# What happens: it becomes the text "NaN", and so do `Infinity` and `-Infinity`, while `None` and `True` are read as Python means
#   them. A column of scores has texts in it, and a comparison with a number is false instead of missing.
# Versions: jsonrepair 3.15.0 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" jsonrepair@3.15.0
cd "$folder"

node - <<'JAVASCRIPT'
const { execFileSync } = require("node:child_process");
const { jsonrepair } = require("jsonrepair");

const program = 'import json, math; print(json.dumps({"score": math.nan, "best": math.inf, "worst": -math.inf}))';
const written = execFileSync("python3", ["-c", program], { encoding: "utf8" }).trim();
const seen = jsonrepair(written);
const python = jsonrepair("{'answer': None, 'right': True}");
console.log("version: jsonrepair", require("./node_modules/jsonrepair/package.json").version);
console.log("written by Python:", written);
console.log("expected: null for each number, or an error");
console.log("seen:", seen, "and from a Python object", python);
const asDescribed =
  seen === '{"score": "NaN", "best": "Infinity", "worst": "-Infinity"}' && python === '{"answer": null, "right": true}';
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
