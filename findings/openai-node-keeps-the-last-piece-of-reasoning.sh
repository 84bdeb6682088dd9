#!/usr/bin/env bash
# OpenAI's client for JavaScript keeps the last piece of a streamed reasoning, and the last token ids.
#
# Expected (a guess, made before running): `finalChatCompletion` joins the pieces of `reasoning_content`, in which servers of open
#   models stream the reasoning, and the lists `token_ids` of vLLM, as it joins `content`.
# What happens: each piece takes the place of the one before. The message has the end of the reasoning and no sign that there was more,
#   and the token ids are those of the last chunk with some. What is stored or sent back as the turn is not what the model wrote.
# Versions: openai 6.49.0 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" openai@6.49.0
cd "$folder"

cat > reasoning.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { ChatCompletionStream } from "openai/lib/ChatCompletionStream";

const piece = (delta, token_ids, finish_reason = null) => {
  const choice = { index: 0, delta, token_ids, logprobs: null, finish_reason };
  return { id: "1", object: "chat.completion.chunk", created: 1, model: "model", choices: [choice] };
};
const chunks = [
  piece({ role: "assistant", reasoning_content: "Two and" }, [11, 12]),
  piece({ reasoning_content: " two" }, [13]),
  piece({ reasoning_content: " make four." }, [14, 15]),
  piece({ content: "It is" }, [16, 17]),
  piece({ content: " four." }, [18], "stop"),
];
const lines = chunks.map((chunk) => JSON.stringify(chunk) + "\n").join("");
const stream = ChatCompletionStream.fromReadableStream(new Response(lines).body);
const { message, token_ids } = (await stream.finalChatCompletion()).choices[0];
console.log("version: openai", JSON.parse(readFileSync("node_modules/openai/package.json", "utf8")).version);
console.log("expected: the content, the reasoning and eight token ids are whole");
console.log("seen, content:  ", JSON.stringify(message.content));
console.log("seen, reasoning:", JSON.stringify(message.reasoning_content));
console.log("seen, token ids:", JSON.stringify(token_ids));
const seen = JSON.stringify([message.content, message.reasoning_content, token_ids]);
const asDescribed = seen === '["It is four."," make four.",[18]]';
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
node reasoning.mjs
