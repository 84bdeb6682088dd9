#!/usr/bin/env bash
# gpt-tokenizer counts a message with a tool call as one without it.
#
# Expected (a guess, made before running): the tokens of a message with a tool call are more than those of the same message without
#   it, or the call is an error.
# What happens: only the content and the role are counted, or the name in place of the role. A call with arguments of a hundred
#   words has no tokens. A budget or a bill of an agent's history leaves out what the agent does.
# Versions: gpt-tokenizer 4.0.0 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" gpt-tokenizer@4.0.0
cd "$folder"

node - <<'JAVASCRIPT'
const { countTokens, encodeChat } = require("gpt-tokenizer/model/gpt-4");

const query = "tower ".repeat(100).trim();
const call = { id: "1", type: "function", function: { name: "search", arguments: JSON.stringify({ query }) } };
const plain = { role: "assistant", content: "I search." };
const lengths = {
  plain: encodeChat([plain]).length,
  "with a tool call": encodeChat([{ ...plain, tool_calls: [call] }]).length,
  "with the call in the content": encodeChat([{ ...plain, content: plain.content + JSON.stringify(call) }]).length,
};
console.log("version: gpt-tokenizer", require("./node_modules/gpt-tokenizer/package.json").version);
console.log("expected: more with a tool call, whose arguments by themselves have", countTokens(call.function.arguments), "tokens");
console.log("seen:", lengths);
const more = lengths["with the call in the content"] - lengths.plain;
const asDescribed = lengths["with a tool call"] === lengths.plain && more > 100;
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
