#!/usr/bin/env bash
# renderers cuts the spaces and line breaks from both ends of a text parameter.
#
# Expected (a guess, made before running): a parameter that the tool's schema calls a string comes back as the model wrote it,
#   less the line break after the opening tag and the one before the closing tag, which belong to the format.
# What happens: Qwen3.5's parser strips the whole value: the indent of a line of code and the line break at its end are lost,
#   though the renderer writes them. A tool that replaces a text in a file no longer finds the text, or writes it at another
#   indent.
# Versions: renderers 0.1.12, transformers 5.24.0, tokenizers 0.23.3, httpx 0.28.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check renderers==0.1.12 transformers==5.24.0 tokenizers==0.23.3 httpx==0.28.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from renderers.qwen35 import Qwen35Renderer
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

renderer = Qwen35Renderer(tokenizer)
schema = {"type": "object", "properties": {"old": {"type": "string"}}, "required": ["old"]}
tools = [{"type": "function", "function": {"name": "replace", "description": "", "parameters": schema}}]
print("version:", {name: importlib.metadata.version(name) for name in ("renderers", "transformers", "tokenizers")})
seen = {}
for text in ("return 1", "    return 1", "return 1\n", "a = 1\n\nb = 2"):
    written = f"<tool_call>\n<function=replace>\n<parameter=old>\n{text}\n</parameter>\n</function>\n</tool_call><|im_end|>"
    parsed = renderer.parse_response(tokenizer.encode(written, add_special_tokens=False), tools=tools)
    seen[text] = parsed.tool_calls[0].arguments["old"]
    call = {"id": "1", "type": "function", "function": {"name": "replace", "arguments": {"old": text}}}
    messages = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert written.removesuffix("<|im_end|>") in tokenizer.decode(renderer.render_ids(messages, tools=tools))
    print(f"expected: {text!r}, seen: {seen[text]!r}")
as_described = list(seen.values()) == ["return 1", "return 1", "return 1", "a = 1\n\nb = 2"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
