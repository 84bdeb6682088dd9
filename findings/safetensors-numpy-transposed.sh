#!/usr/bin/env bash
# safetensors writes a transposed numpy array in the wrong order.
#
# Expected (a guess, made before running): a saved array reads back equal, whatever its memory layout, or is refused, as
#   safetensors refuses torch tensors that are not contiguous.
# What happens: the header says the transposed shape, the data are the untransposed bytes. The array reads back with the right
#   shape and dtype and other values, without an error or a warning. `numpy.ascontiguousarray` before the call avoids it.
# Versions: safetensors 0.8.0, numpy 2.4.6. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

import numpy
from safetensors.numpy import load, save

weight = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
seen = load(save({"head": weight.T}))["head"]
contiguous = load(save({"head": numpy.ascontiguousarray(weight.T)}))["head"]

print("version: safetensors", importlib.metadata.version("safetensors"))
print("expected:", weight.T.tolist())
print("seen:    ", seen.tolist())
print("with ascontiguousarray:", contiguous.tolist())
as_described = (
    seen.shape == (3, 2) and seen.ravel().tolist() == weight.ravel().tolist() and numpy.array_equal(contiguous, weight.T)
)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
