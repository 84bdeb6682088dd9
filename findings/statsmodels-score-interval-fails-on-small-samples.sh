#!/usr/bin/env bash
# statsmodels' score interval of a difference fails on ordinary small samples and is lopsided on equal ones.
#
# Expected (a guess, made before running): `confint_proportions_2indep(8, 10, 3, 10, method='score')` is an interval: the score
#   method is the one for small samples and for the edges. For 5 of 10 against 5 of 10 the interval is symmetric.
# What happens: 8 against 3 of 10, 9 against 8 and 9 against 9 end in a ValueError of the root finder ("f(a) and f(b) must have
#   different signs"). 5 against 5 gives (-0.404, 0.409). The score test of 8 against 3 works (p = 0.028), and Newcomb's method
#   works in all of them.
# Versions: statsmodels 0.15.0, scipy 1.17.1, numpy 2.4.6, pandas 3.1.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6 pandas==3.1.1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import warnings

import statsmodels
from statsmodels.stats.proportion import confint_proportions_2indep, test_proportions_2indep

warnings.simplefilter("ignore")


def interval(first, second, method):
    try:
        return [round(float(bound), 3) for bound in confint_proportions_2indep(first, 10, second, 10, method=method)]
    except ValueError as error:
        return f"ValueError: {error}"


pairs = [(8, 3), (9, 8), (9, 9), (5, 5)]
seen = {pair: interval(*pair, "score") for pair in pairs}
print("version: statsmodels", statsmodels.__version__)
print("expected: an interval for each, symmetric for (5, 5)")
print("seen, score:  ", seen)
print("seen, newcomb:", {pair: interval(*pair, "newcomb") for pair in pairs})
print("score test of 8 against 3 of 10: p =", round(test_proportions_2indep(8, 10, 3, 10, method="score").pvalue, 3))
as_described = all("different signs" in seen[pair] for pair in pairs[:3]) and seen[5, 5] == [-0.404, 0.409]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
