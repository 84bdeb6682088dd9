#!/usr/bin/env bash
# AI SDK Tool Parser appends the rest of a tool call to an argument that holds `a<b`.
#
# Expected (a guess, made before running): the text of an XML parameter ends at its closing tag, whatever other markup it quotes.
# What happens: a "less than" before a letter opens a tag for the parser, so the argument runs on through its own closing tag and
#   through the next parameters, and a closing tag of the parser's own is appended. With spaces around the sign, before a digit
#   or in `List<String>` the text is right. A tool that runs code or writes a file gets broken code, and nobody learns of it.
# Versions: @ai-sdk-tool/parser 4.1.26 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" @ai-sdk-tool/parser@4.1.26
cd "$folder"

node - <<'JAVASCRIPT'
const { morphXmlProtocol } = require("@ai-sdk-tool/parser");

const properties = { code: { type: "string" }, path: { type: "string" } };
const tools = [{ type: "function", name: "write", description: "", inputSchema: { type: "object", properties } }];
const described = {
  "if (a < b) stop();": "if (a < b) stop();",
  "List<String> names;": "List<String> names;",
  "if (a<b) stop();": "if (a<b) stop();</code><path>x.c</path></b>",
  "for (i=0;i<n;i++)": "for (i=0;i<n;i++)</code><path>x.c</path></n>",
};
console.log("version: @ai-sdk-tool/parser", require("./node_modules/@ai-sdk-tool/parser/package.json").version);
let asDescribed = true;
for (const [code, wanted] of Object.entries(described)) {
  const text = `<write><code>${code}</code><path>x.c</path></write>`;
  let problems = 0;
  const options = { onError: () => (problems += 1) };
  const [part] = morphXmlProtocol().parseGeneratedText({ text, tools, options });
  const seen = JSON.parse(part.input);
  console.log("expected:", JSON.stringify(code), "seen:", JSON.stringify(seen.code), "errors:", problems);
  asDescribed &&= seen.code === wanted && seen.path === "x.c" && problems === 0;
}
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
