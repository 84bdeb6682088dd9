#!/usr/bin/env bash
# Expectation (a guess, made before running): apply_chat_template hands further keyword arguments to the template as they are, and
# there they hide jinja globals. So `strftime_now=lambda format: "2026-01-01"` pins the date that templates such as Llama 3.2's,
# gpt-oss' and Mistral Small's print.
# What happens: every variable goes through a conversion to plain data first, and a function becomes its repr, a string. A template that
# calls it fails with "'str' object is not callable"; one that asks `is defined` sees a string.
# Version: transformers 5.23.0. Date: November 2026.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "transformers==5.23.0" "tokenizers" "jinja2"
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

# The lines with which Llama 3.2's template finds the date, and the message.
template = (
    '{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}'
    "Today Date: {{ date_string }}\n{{ messages[0].content }}"
)
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")), unk_token="?", chat_template=template
)

def render(**variables):
    try:
        return tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False, **variables)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

plain = render()
pinned = render(strftime_now=lambda format: "01 Jan 2026")
text = render(date_string="01 Jan 2026")
print("transformers", transformers.__version__)
print("without further variables:        ", repr(plain))
print("with strftime_now=<function>:     ", repr(pinned))
print("with date_string='01 Jan 2026':   ", repr(text), "(the template overwrites it: it asks for strftime_now alone)")
print("expected of the function:         ", repr("Today Date: 01 Jan 2026\nhello"))
sys.exit(0 if "'str' object is not callable" in pinned else 1)
PYTHON
