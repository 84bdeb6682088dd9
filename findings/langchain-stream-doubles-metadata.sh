#!/usr/bin/env bash
# langchain-core joins equal metadata of a stream's chunks: `stop` and `stop` become `stopstop`.
#
# Expected (a guess, made before running): metadata that two chunks carry alike (the model's name, the service tier, the finish
#   reason) stays as it is when the chunks are added, as `id` and `model_provider` and numbers do.
# What happens: other texts are joined end to end: `model_name` "m" becomes "mm" and `finish_reason` "stop" becomes "stopstop"
#   where each chunk carries them. A check for "length" or "stop" then fails.
# Versions: langchain-core 1.8.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-core==1.8.3

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

from langchain_core.messages import AIMessageChunk

metadata = {"model_name": "m", "service_tier": "default", "finish_reason": "stop", "model_provider": "openai", "created": 1}
first, second = (AIMessageChunk(text, response_metadata=metadata) for text in ("Par", "is"))
seen = (first + second).response_metadata
print("version: langchain-core", importlib.metadata.version("langchain-core"))
print("expected:", metadata)
print("seen:    ", seen)
as_described = seen == {**metadata, "model_name": "mm", "service_tier": "defaultdefault", "finish_reason": "stopstop"}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
