#!/usr/bin/env bash
# LiteLLM drops the log-probabilities when it builds the answer from a stream.
#
# Expected (a guess, made before running): `stream_chunk_builder` joins the chunks of a stream into the answer that the server would
#   have sent in one piece, log-probabilities included.
# What happens: the text, the calls and the finish reason are joined, and the log-probabilities of every chunk are left out, without
#   a warning. The field is missing, so a reader that takes a missing field for "the server reports none" trains or scores without
#   them.
# Versions: litellm 1.110.2. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check litellm==1.110.2

export LITELLM_LOCAL_MODEL_COST_MAP=True  # The price list comes from the package, and none is downloaded.
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import litellm
from litellm.types.utils import ChatCompletionTokenLogprob, ChoiceLogprobs, Delta, ModelResponseStream, StreamingChoices

litellm.suppress_debug_info = True


def chunk(text, finish_reason=None):
    logprobs = None
    if text:
        token = ChatCompletionTokenLogprob(token=text, bytes=list(text.encode()), logprob=-0.5, top_logprobs=[])
        logprobs = ChoiceLogprobs(content=[token])
    delta = Delta(role="assistant", content=text)
    choice = StreamingChoices(index=0, delta=delta, finish_reason=finish_reason, logprobs=logprobs)
    return ModelResponseStream(id="answer", created=1, model="model", choices=[choice])


chunks = [chunk("Par"), chunk("is"), chunk(None, "length")]
sent = [piece.choices[0].logprobs.content[0].logprob for piece in chunks[:2]]
choice = litellm.stream_chunk_builder(chunks).choices[0]
seen = getattr(choice, "logprobs", None)
print("version: litellm", importlib.metadata.version("litellm"))
print("expected: the log-probabilities", sent, "in the answer")
print("seen:", repr(choice.message.content), choice.finish_reason, "with the log-probabilities", seen)
as_described = (choice.message.content, choice.finish_reason, seen) == ("Paris", "length", None)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
