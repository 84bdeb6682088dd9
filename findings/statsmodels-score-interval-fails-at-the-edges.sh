#!/usr/bin/env bash
# statsmodels has no score interval for the difference of two perfect systems.
#
# Expected (a guess, made before running): `confint_proportions_2indep(10, 10, 10, 10, method='score')` is an interval around 0:
#   the score method is the one made for such edges, and `test_proportions_2indep` with it gives p = 1.
# What happens: a ValueError from the root finder says that the function value is NaN. 10 of 10 against 0 of 10 fails in the
#   same way; 9 of 10 against 9 of 10 works. Newcomb's method works in all of them.
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


seen = {pair: interval(*pair, "score") for pair in [(9, 9), (10, 10), (10, 0)]}
print("version: statsmodels", statsmodels.__version__)
print("expected: an interval for each; the test of 10 against 10 gives p =", test_proportions_2indep(10, 10, 10, 10, method="score").pvalue)
print("seen, score:  ", seen)
print("seen, newcomb:", {pair: interval(*pair, "newcomb") for pair in seen})
as_described = isinstance(seen[9, 9], list) and "NaN" in seen[10, 10] and "NaN" in seen[10, 0]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
