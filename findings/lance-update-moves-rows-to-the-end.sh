#!/usr/bin/env bash
# Lance moves the rows that it updates to the end of the dataset.
#
# Expected (a guess, made before running): an update of one column, or a merge by a key, leaves each row where it was.
# What happens: the changed rows are written anew behind all others, so `to_table` and `take` find other rows at the same
#   positions. Rewards that stand in a list in the order of the dataset belong to other trajectories after the first update. Only a
#   column of ids keeps them apart.
# Versions: pylance 14.0.2, pyarrow 26.0.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pylance==14.0.2 pyarrow==26.0.1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import sys

import lance
import pyarrow

table = pyarrow.table({"id": [1, 2, 3], "reward": [0.0, 0.0, 0.0]})
updated = lance.write_dataset(table, f"{sys.argv[1]}/updated.lance")
updated.update({"reward": "1.0"}, where="id = 1")
merged = lance.write_dataset(table, f"{sys.argv[1]}/merged.lance")
merged.merge_insert("id").when_matched_update_all().execute(pyarrow.table({"id": [1], "reward": [1.0]}))
orders = [dataset.to_table()["id"].to_pylist() for dataset in (updated, merged)]
first = updated.take([0]).to_pylist()
print("version:", {name: importlib.metadata.version(name) for name in ("pylance", "pyarrow")})
print("expected: the ids in the order 1, 2, 3")
print("seen: after update", orders[0], "after merge_insert", orders[1], "and at position 0", first)
as_described = orders == [[2, 3, 1], [2, 3, 1]] and first == [{"id": 2, "reward": 0.0}]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
