#!/usr/bin/env bash
# The AI SDK puts the answer before the tool's result where the parts of a message have no `step-start`.
#
# Expected (a guess, made before running): `convertToModelMessages` keeps the order of the parts: text, call, result, and then the
#   answer, which was written after the result.
# What happens: the parts between two markers `step-start` are one turn of the assistant, and all results come behind it. Without
#   markers, as in messages made from a log, the answer stands beside the call and before the result that it was drawn from. The
#   next model reads a history in which the answer was known before the search. With markers the order is right.
# Versions: ai 7.0.173 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" ai@7.0.173
cd "$folder"

cat > run.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { convertToModelMessages } from "ai";

const text = (words) => ({ type: "text", text: words });
const call = { type: "tool-search", toolCallId: "1", state: "output-available", input: { query: "tower" }, output: "330 m" };
const step = { type: "step-start" };
const order = async (parts) => {
  const messages = await convertToModelMessages([{ role: "assistant", parts }]);
  return messages.map((m) => `${m.role}: ${m.content.map((part) => part.text ?? part.type).join(" + ")}`);
};
const plain = await order([text("I search."), call, text("It is 330 m high.")]);
const marked = await order([step, text("I search."), call, step, text("It is 330 m high.")]);
console.log("version: ai", JSON.parse(readFileSync("node_modules/ai/package.json")).version);
console.log("expected:", marked);
console.log("seen:    ", plain);
const asDescribed =
  JSON.stringify(plain) === '["assistant: I search. + tool-call + It is 330 m high.","tool: tool-result"]' &&
  JSON.stringify(marked) === '["assistant: I search. + tool-call","tool: tool-result","assistant: It is 330 m high."]';
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
node run.mjs
