"""Tables of scores: checked, paired, and the variances of their means."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHUNK = 1 << 21
"""Numbers drawn at a time: 16 MiB."""

Scores = NDArray[np.float64]


def as_table(scores: ArrayLike, *, min_questions: int = 1) -> Scores:
    """Return scores as a table ``(questions, seeds)`` of finite numbers of at least so many questions."""
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2:
        raise ValueError(f"expected scores (questions,) or (questions, seeds), received shape {table.shape}")
    if len(table) < min_questions or not table.shape[1]:
        raise ValueError(
            f"expected at least {min_questions} questions and a seed, received {table.shape[0]} and {table.shape[1]}"
        )
    if not np.isfinite(table).all():
        raise ValueError("expected finite scores, received NaN or infinity: leave out questions without a score")
    return table


def as_pair(first: ArrayLike, second: ArrayLike, *, min_questions: int = 1) -> tuple[Scores, Scores]:
    """Return the tables of two methods, which answered the same questions."""
    one, other = as_table(first, min_questions=min_questions), as_table(second, min_questions=min_questions)
    if len(one) != len(other):
        raise ValueError(f"expected scores on the same questions, received {len(one)} and {len(other)}")
    return one, other


def one_seed(scores: ArrayLike) -> Scores:
    """Return scores of one seed as a table."""
    table = as_table(scores)
    if table.shape[1] != 1:
        raise ValueError(f"expected one seed, received {table.shape[1]}: use crossed_interval or crossed_test")
    return table


def one_seed_pair(first: ArrayLike, second: ArrayLike) -> tuple[Scores, Scores]:
    """Return the tables of two methods of one seed each, with scores of 0 and 1."""
    one, other = as_pair(one_seed(first), one_seed(second))
    if not (is_binary(one) and is_binary(other)):
        raise ValueError(
            "expected scores of 0 and 1, received others: use permutation_test and crossed_difference_interval"
        )
    return one, other


def is_binary(table: Scores) -> bool:
    """Return whether all scores are 0 or 1."""
    return bool(np.isin(table, (0.0, 1.0)).all())


def paired_differences(one: Scores, other: Scores) -> Scores:
    """Difference of each question's means. Rounding differences of equal means over different numbers of seeds become 0."""
    differences = one.mean(axis=1) - other.mean(axis=1)
    differences[np.abs(differences) <= 1e-12 * max(np.abs(one).max(), np.abs(other).max())] = 0.0
    return differences


def variance_of_mean(one: Scores, other: Scores | None = None) -> tuple[float, float]:
    """Variance of a mean, or of the difference of two, over questions and each method's seeds; degrees of freedom."""
    num_questions = len(one)
    rows = one.mean(axis=1) if other is None else paired_differences(one, other)
    variance = float(rows.var(ddof=1)) / num_questions
    # Satterthwaite: variance^2 / sum of (part^2 / its degrees). The seeds' part enters uncut, so that nothing jumps.
    squares = variance**2 / (num_questions - 1)
    fewest = num_questions - 1
    for table in (one,) if other is None else (one, other):
        num_seeds = table.shape[1]
        if num_seeds == 1:
            continue
        columns = table.mean(axis=0)
        of_seeds = float(columns.var(ddof=1)) / num_seeds
        variance += max(0.0, of_seeds - variance_of_rest(table))
        squares += of_seeds**2 / (num_seeds - 1)
        fewest = min(fewest, num_seeds - 1)
    return variance, max(float(fewest), variance**2 / squares) if squares > 0 else float(num_questions - 1)


def variance_of_rest(table: Scores) -> float:
    """Variance that neither questions nor seeds explain, as a part of the variance of the mean; at least two of each."""
    num_questions, num_seeds = table.shape
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float((rest**2).sum()) / ((num_questions - 1) * (num_seeds - 1)) / (num_questions * num_seeds)


def chunks(total: int, *, width: int) -> Iterator[int]:
    """Sizes of pieces of ``total`` rows of ``width`` numbers that fit the memory."""
    if total < 1:
        raise ValueError(f"expected at least one draw, received {total}")
    step = max(1, CHUNK // width)
    for start in range(0, total, step):
        yield min(step, total - start)
