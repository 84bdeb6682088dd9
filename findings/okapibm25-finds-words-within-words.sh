#!/usr/bin/env bash
# okapibm25 counts a keyword inside of other words.
#
# Expected (a guess, made before running): a bag of words holds whole words, so "art" is in "an art museum in Rome" and not in
#   "the start of the party".
# What happens: it is counted twice in "start" and "party", and the passage without the word ranks above the one with it. Short
#   words are in nearly every passage, so their rarity is lost, too. Upper and lower case differ all the same.
# Versions: okapibm25 1.4.1 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" okapibm25@1.4.1
cd "$folder"

node - <<'JAVASCRIPT'
const BM25 = require("okapibm25").default;

const rounded = (scores) => scores.map((score) => Number(score.toFixed(2)));
const art = rounded(BM25(["the start of the party", "an art museum in Rome", "dogs run"], ["art"]));
const tower = rounded(BM25(["the tower falls", "two Towers stand", "dogs run"], ["Tower"]));
console.log("version: okapibm25", require("./node_modules/okapibm25/package.json").version);
console.log("expected: art scores in the second passage alone, and Tower in none");
console.log("seen, art:  ", JSON.stringify(art));
console.log("seen, Tower:", JSON.stringify(tower));
const asDescribed = art[0] > art[1] && art[1] > 0 && art[2] === 0 && tower[0] === 0 && tower[1] > 0;
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
