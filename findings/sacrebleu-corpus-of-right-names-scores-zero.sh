#!/usr/bin/env bash
# sacrebleu's corpus score of right answers is 0 where all answers are short.
#
# Expected (a guess, made before running): answers that equal their references score 100, as by the sentence score.
# What happens: a corpus of answers of at most three words has no sequence of four words, and one such count of 0 makes the product
#   0. One right answer of four words makes it 100. The sentence score leaves out the orders that a text is too short for; the
#   corpus score does so only with `effective_order`.
# Versions: sacrebleu 2.6.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sacrebleu==2.6.0

"$folder/venv/bin/python" - <<'PYTHON'
import sacrebleu

names = ["Paris", "Ada Lovelace", "New York City"]
longer = [*names, "the Eiffel Tower in Paris"]
corpus, mixed = (sacrebleu.corpus_bleu(rows, [rows]).score for rows in (names, longer))
sentences = [sacrebleu.sentence_bleu(name, [name]).score for name in names]
effective = sacrebleu.BLEU(effective_order=True).corpus_score(names, [names]).score
print("version: sacrebleu", sacrebleu.__version__)
print("expected: 100 by each way, since each answer equals its reference")
print("seen: corpus", corpus, "with one long answer", mixed, "sentences", sentences, "with effective_order", effective)
rounded = [round(score, 6) for score in (corpus, mixed, effective, *sentences)]
as_described = rounded == [0, 100, 100, 100, 100, 100]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
