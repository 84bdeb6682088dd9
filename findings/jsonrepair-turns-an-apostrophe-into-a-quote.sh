#!/usr/bin/env bash
# jsonrepair changes the apostrophe of a text in single quotes to a double quote.
#
# Expected (a guess, made before running): the text `it's` of an object that is written with single quotes reads `it's` after the
#   repair, as the text `say "hi" now` in double quotes keeps its inner quotes.
# What happens: the apostrophe is taken for an inner quote, and as all single quotes of the object become double ones, the text is
#   `it"s`. The result is valid JSON, so an answer or a search query is altered without an error. A text in double quotes keeps its
#   apostrophe.
# Versions: jsonrepair 3.15.0 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" jsonrepair@3.15.0
cd "$folder"

node - <<'JAVASCRIPT'
const { jsonrepair } = require("jsonrepair");

const written = ["{'answer': 'it's'}", "{'query': 'women's cup'}", `{"answer": "it's"}`, `{"answer": "say "hi" now"}`];
const expected = ["it's", "women's cup", "it's", 'say "hi" now'];
const seen = written.map((text) => Object.values(JSON.parse(jsonrepair(text)))[0]);
console.log("version: jsonrepair", require("./node_modules/jsonrepair/package.json").version);
console.log("expected:", expected);
console.log("seen:    ", seen);
const asDescribed = JSON.stringify(seen) === JSON.stringify(['it"s', 'women"s cup', "it's", 'say "hi" now']);
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
