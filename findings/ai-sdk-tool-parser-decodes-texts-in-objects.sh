#!/usr/bin/env bash
# AI SDK Tool Parser turns the texts inside an object of a tool call into numbers, lists and booleans.
#
# Expected (a guess, made before running): the arguments of a call that is written as valid JSON arrive as they are.
# What happens: where the schema leaves an object's keys open, and for a key that it does not name, a text that looks like JSON is
#   decoded: "00501" is 501, "1e3" is 1000, "[1]" is a list. A search filter by postal code or by identifier finds nothing. The
#   same texts are kept where the schema says `string`, and "null" is kept everywhere.
# Versions: @ai-sdk-tool/parser 4.1.26 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" @ai-sdk-tool/parser@4.1.26
cd "$folder"

node - <<'JAVASCRIPT'
const { hermesProtocol } = require("@ai-sdk-tool/parser");

const properties = { query: { type: "string" }, filter: { type: "object" } };
const tools = [{ type: "function", name: "search", description: "", inputSchema: { type: "object", properties } }];
const call = {
  query: "00501",
  filter: { zip: "00501", id: "1e3", pages: "[1]", open: "true", town: "null" },
  page: "2",
};
const text = `<tool_call>\n${JSON.stringify({ name: "search", arguments: call })}\n</tool_call>`;
const [part] = hermesProtocol().parseGeneratedText({ text, tools, options: {} });
const described = { query: "00501", filter: { zip: 501, id: 1000, pages: [1], open: true, town: "null" }, page: 2 };
console.log("version: @ai-sdk-tool/parser", require("./node_modules/@ai-sdk-tool/parser/package.json").version);
console.log("expected:", JSON.stringify(call));
console.log("seen:    ", part.input);
const asDescribed = part.input === JSON.stringify(described);
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
