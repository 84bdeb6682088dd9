#!/usr/bin/env bash
# structured-logprobs gives no log-probability for true, false and null.
#
# Expected (a guess, made before running): each value of the answer has the sum of its tokens' log-probabilities, as texts and
#   numbers do.
# What happens: a truth value or a null has None in `log_probs`, though the server sent the log-probability of its token. The
#   verdict of a judge that answers {"correct": true} is such a value: its confidence is missing, and a sum over all values fails
#   or leaves it out.
# Versions: structured-logprobs 0.1.5, openai 1.58.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check structured-logprobs==0.1.5 openai==1.58.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from openai.types.chat import ChatCompletion
from structured_logprobs import add_logprobs


def probability(value):
    tokens = [('{"', 0.0), ("correct", 0.0), ('":', 0.0), (f" {value}", -0.25), ("}", 0.0)]
    content = [{"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []} for text, logprob in tokens]
    message = {"role": "assistant", "content": "".join(text for text, _ in tokens)}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": content}}
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "judge", "choices": [choice]}
    return add_logprobs(ChatCompletion.model_validate(answer)).log_probs[0]["correct"]


seen = {value: probability(value) for value in ("1", '"yes"', "true", "false", "null")}
print("version:", {name: importlib.metadata.version(name) for name in ("structured-logprobs", "openai")})
print("expected: -0.25 for each value")
print("seen:    ", seen)
as_described = seen == {"1": -0.25, '"yes"': -0.25, "true": None, "false": None, "null": None}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
