#!/usr/bin/env bash
# OpenAI's client for JavaScript repeats the first token's log-probability when it puts a stream together.
#
# Expected (a guess, made before running): `finalChatCompletion` of a stream with two tokens holds two log-probabilities.
# What happens: the first chunk's are counted twice where that chunk has some, as it has where a server sends no chunk for the role
#   alone. The sum of the log-probabilities is too low by the first token's, and a list of tokens beside it is one short.
# Versions: openai 6.49.0 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" openai@6.49.0
cd "$folder"

cat > tokens.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { ChatCompletionStream } from "openai/lib/ChatCompletionStream";

const piece = (delta, token, finish_reason = null) => {
  const content = token && [{ token, logprob: -1, bytes: null, top_logprobs: [] }];
  const choice = { index: 0, delta, logprobs: content ? { content, refusal: null } : null, finish_reason };
  return { id: "1", object: "chat.completion.chunk", created: 1, model: "model", choices: [choice] };
};

async function final(chunks) {
  const lines = chunks.map((chunk) => JSON.stringify(chunk) + "\n").join("");
  const stream = ChatCompletionStream.fromReadableStream(new Response(lines).body);
  const { message, logprobs } = (await stream.finalChatCompletion()).choices[0];
  return [message.content, logprobs.content.map((entry) => entry.token)];
}

const role = piece({ role: "assistant", content: "" });
const end = piece({}, null, "stop");
const apart = await final([role, piece({ content: "Yes" }, "Yes"), piece({ content: "." }, "."), end]);
const together = await final([piece({ role: "assistant", content: "Yes" }, "Yes"), piece({ content: "." }, "."), end]);
console.log("version: openai", JSON.parse(readFileSync("node_modules/openai/package.json", "utf8")).version);
console.log("expected: the tokens Yes and . for both");
console.log("seen, the role in a chunk of its own:  ", JSON.stringify(apart));
console.log("seen, the role with the first token:   ", JSON.stringify(together));
const asDescribed = JSON.stringify([apart, together]) === '[["Yes.",["Yes","."]],["Yes.",["Yes","Yes","."]]]';
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
node tokens.mjs
