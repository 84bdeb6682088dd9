#!/usr/bin/env bash
# statsmodels' chi-square McNemar test of two systems that never disagree gives p = 0.
#
# Expected (a guess, made before running): two systems that are right on the same questions give p = 1, as the exact form of the
#   test does, or nan.
# What happens: the continuity correction makes (|0 - 0| - 1)^2 / 0, which is infinite: the statistic is inf and p is 0.0. Two
#   identical policies differ with certainty. One disagreement each way gives p = 0.48 with the correction and 1.0 without.
# Versions: statsmodels 0.15.0, scipy 1.17.1, numpy 2.4.6, pandas 3.1.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6 pandas==3.1.1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import warnings

import statsmodels
from statsmodels.stats.contingency_tables import mcnemar

warnings.simplefilter("ignore")
both_right, both_wrong = 60, 40
table = [[both_right, 0], [0, both_wrong]]
exact = mcnemar(table, exact=True).pvalue
chi_square = mcnemar(table, exact=False).pvalue
uncorrected = mcnemar(table, exact=False, correction=False).pvalue
print("version: statsmodels", statsmodels.__version__)
print("expected: p = 1 or nan in each form")
print("seen: exact", exact, "chi-square (corrected by default)", chi_square, "chi-square without the correction", uncorrected)
as_described = exact == 1 and chi_square == 0
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
