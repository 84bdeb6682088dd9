#!/usr/bin/env bash
# genai-prices bills a small model that was distilled from DeepSeek R1 as the large one.
#
# Expected (a guess, made before running): a model of open weights that no provider is named for is an error, as `Qwen/Qwen3-8B`
#   is, since it has no price of its own.
# What happens: `deepseek-r1-distill-qwen-1.5b` and `-7b` are matched to the provider's large model. A cost report of a run on
#   one's own machine has a bill in it, which looks like any other.
# Versions: genai-prices 0.2.3 with its own prices. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check genai-prices==0.2.3

"$folder/venv/bin/python" - <<'PYTHON'
import datetime
import importlib.metadata

from genai_prices import Usage, calc_price

noon = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.timezone.utc)


def billed(name):
    try:
        price = calc_price(Usage(input_tokens=1_000_000, output_tokens=1_000_000), name, genai_request_timestamp=noon)
    except LookupError:
        return "an error"
    return f"{price.model.id}, {price.total_price}"


names = ["Qwen/Qwen3-8B", "deepseek-r1-distill-qwen-1.5b", "deepseek-r1-distill-qwen-7b", "deepseek-r1"]
seen = [billed(name) for name in names]
print("version: genai-prices", importlib.metadata.version("genai-prices"))
print("expected: an error for the first three")
for name, bill in zip(names, seen, strict=True):
    print("seen:", name, "is", bill)
as_described = seen[0] == "an error" and seen[1] == seen[2] == seen[3] and seen[1].startswith("deepseek-reasoner")
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
