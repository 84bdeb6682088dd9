#!/usr/bin/env bash
# autoevals compares true with false by their letters and pays a fifth for the wrong one.
#
# Expected (a guess, made before running): `JSONDiff` compares texts by their letters and numbers by their difference, and a wrong
#   true or false scores 0.
# What happens: `false` for `true` scores 0.2, since both words end in "e", while 1 for `true` scores 0. A model that answers each
#   yes-or-no field wrongly has 0.2 and not 0, and a field that is missing where null is expected scores 1.
# Versions: autoevals 0.0.132 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" autoevals@0.0.132
cd "$folder"

cat > scores.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { JSONDiff } from "autoevals";

const score = async (output, expected) => Number((await JSONDiff({ output, expected })).score.toFixed(2));
const wrong = await score({ found: false, checked: true }, { found: true, checked: false });
const one = await score({ found: 1 }, { found: true });
const missing = await score({}, { found: null });
const empty = await score({ found: "" }, { found: null });
console.log("version: autoevals", JSON.parse(readFileSync("node_modules/autoevals/package.json", "utf8")).version);
console.log("expected: 0 for each");
console.log("seen, both truth values wrong:         ", wrong);
console.log("seen, 1 for true:                      ", one);
console.log("seen, no field where null is expected: ", missing);
console.log("seen, an empty text for null:          ", empty);
const asDescribed = wrong === 0.2 && one === 0 && missing === 1 && empty === 0;
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
node scores.mjs
