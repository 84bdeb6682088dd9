#!/usr/bin/env bash
# A model that transformers 5 saved, loaded by transformers 4.
#
# Expected (a guess, made before running): transformers 4.57, which knows `dtype` beside `torch_dtype`, also reads the
#   `rope_parameters` that transformers 5 writes, or refuses a configuration that it does not understand.
# What happens: it keeps `rope_parameters` as an attribute that nothing reads, and takes the class's default rotary base. A Llama
#   with a base of 500,000 runs with 10,000: no error, no warning, other logits. With `rope_theta` beside it both versions agree.
# Versions: transformers 5.23.0 and 4.57.6.
# Date: 28 November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for version in 5.23.0 4.57.6; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version"
done

export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=warning
"$folder/5.23.0/bin/python" - "$folder/model" <<'PYTHON'
import sys
from transformers import LlamaConfig

LlamaConfig(
    hidden_size=64, num_attention_heads=4, num_hidden_layers=2, vocab_size=100,
    rope_parameters={"rope_theta": 500000.0, "rope_type": "default"},
).save_pretrained(sys.argv[1])
PYTHON
grep -A 3 rope "$folder/model/config.json"

"$folder/4.57.6/bin/python" - "$folder/model" <<'PYTHON'
import json
import sys
from pathlib import Path

from transformers import AutoConfig, __version__

config = AutoConfig.from_pretrained(sys.argv[1])
print(f"transformers {__version__}: rope_theta = {config.rope_theta}, rope_parameters = {config.rope_parameters}")
file = Path(sys.argv[1]) / "config.json"
file.write_text(json.dumps({**json.loads(file.read_text()), "rope_theta": 500000.0}))
repaired = AutoConfig.from_pretrained(sys.argv[1]).rope_theta
print(f"with rope_theta in the file: {repaired}")
sys.exit(0 if (config.rope_theta, repaired) == (10000.0, 500000.0) else 1)
PYTHON
# Output seen:
#   "rope_parameters": {
#     "rope_theta": 500000.0,
#     "rope_type": "default"
#   },
#   transformers 4.57.6: rope_theta = 10000.0, rope_parameters = {'rope_theta': 500000.0, 'rope_type': 'default'}
#   with rope_theta in the file: 500000.0
