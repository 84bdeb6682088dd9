#!/usr/bin/env bash
# word2number reads "nineteen eighty four" as 1524.
#
# Expected (a guess, made before running): a year in words is the year, or an error, as "two hundred thousand million" is. A
#   minus is kept or refused.
# What happens: groups that do not form one number are added by a rule of their own: "nineteen eighty four" gives 1524, "twenty
#   twenty" 40, "one two three" 5. "minus five" gives 5 and "one half" gives 1: words that it does not know are skipped. An
#   answer normaliser built on it makes wrong answers equal and right ones different, without an error.
# Versions: word2number 1.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check word2number==1.1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

from word2number.w2n import word_to_num

expected = {"two thousand twenty six": 2026, "nineteen eighty four": 1984, "twenty twenty": 2020, "minus five": -5, "one half": 0.5}
seen = {words: word_to_num(words) for words in expected}
print("version: word2number", importlib.metadata.version("word2number"))
print("expected:", expected, "or errors")
print("seen:    ", seen)
as_described = list(seen.values()) == [2026, 1524, 40, 5, 1]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
