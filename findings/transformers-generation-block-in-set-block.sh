#!/usr/bin/env bash
# The assistant mask is shifted when a template collects the turn in a `set` block.
#
# Expected (a guess, made before running): `return_assistant_tokens_mask` marks what stands inside `{% generation %}`, wherever
#   the template prints it, or refuses the template. Inside a macro it does.
# What happens: the position is taken where the text is collected, not where it is printed. What the template prints in between
#   (here a header) shifts the mask to the left, without an error or a warning. A template that first collects the turn, to trim
#   it or to look into it, trains on its header and not on the turn's end.
# Versions: transformers 5.23.0, tokenizers 0.23.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

alphabet = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
characters = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
characters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
characters.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=characters)
messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
generation = "{% generation %}{{ message.content }}{% endgeneration %}"
templates = {
    "directly": generation,
    "macro": "{% macro turn(message) %}" + generation + "{% endmacro %}{{ turn(message) }}",
    "set": "{% set text %}" + generation + "{% endset %}Bot: {{ text }}",
}


def marked(assistant):
    template = (
        "{% for message in messages %}{% if message.role == 'assistant' %}" + assistant
        + "{% else %}{{ message.content }}{% endif %}|{% endfor %}"
    )
    rendered = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    text = tokenizer.decode(rendered["input_ids"])
    return text, "".join(letter for letter, bit in zip(text, rendered["assistant_masks"], strict=True) if bit)


seen = {name: marked(assistant) for name, assistant in templates.items()}
print("version: transformers", transformers.__version__)
print("expected: 'answer' is marked in each")
for name, (text, mask) in seen.items():
    print(f"{name}: text {text!r}, marked {mask!r}")
as_described = {name: mask for name, (_, mask) in seen.items()} == {"directly": "answer", "macro": "answer", "set": "Bot: a"}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
