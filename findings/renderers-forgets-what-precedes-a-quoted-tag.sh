#!/usr/bin/env bash
# renderers reads an answer that quotes `</think>` as a whole, and forgets what precedes the tag in the next prompt.
#
# Expected (a guess, made before running): an answer that was parsed to a text is in the prompt of the next turn as that text.
# What happens: the parser takes the later tags for ordinary text, as its page says. The renderer, like the model's own template,
#   takes everything up to the last `</think>` for reasoning, which the next turn omits. The second prompt no longer holds what
#   the model said in the first turn, here most of a sentence.
# Versions: renderers 0.1.12, transformers 5.24.0, tokenizers 0.23.3, httpx 0.28.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check renderers==0.1.12 transformers==5.24.0 tokenizers==0.23.3 httpx==0.28.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from renderers.qwen3 import Qwen3Renderer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

alphabet = {piece: number for number, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
backend = Tokenizer(models.BPE(alphabet, []))
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
backend.decoder = decoders.ByteLevel()
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
markup = [f"<{close}{name}>" for name in ("tool_call", "tool_response", "think") for close in ("", "/")]
backend.add_special_tokens(special)
backend.add_tokens([AddedToken(text, normalized=False) for text in markup])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")

renderer = Qwen3Renderer(tokenizer)
written = "It thinks between <think> and </think> and answers then."
answer = renderer.parse_response(tokenizer.encode(written + "<|im_end|>", add_special_tokens=False)).content
question, again = {"role": "user", "content": "How?"}, {"role": "user", "content": "Again?"}
ids = renderer.render_ids([question, {"role": "assistant", "content": answer}, again], add_generation_prompt=True)
shown = tokenizer.decode(ids).split("<|im_start|>assistant\n")[1].split("<|im_end|>")[0]
print("version:", {name: importlib.metadata.version(name) for name in ("renderers", "transformers", "tokenizers")})
print("the parsed answer:      ", repr(answer))
print("expected in the prompt: ", repr(written))
print("seen in the prompt:     ", repr(shown))
as_described = answer == written and shown.strip() == "and answers then."
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
