import math

import pytest

from workflow_r1.evaluation.student import t_quantile, t_two_sided_p


@pytest.mark.parametrize(
    ("degrees", "expected"),
    # Table of Student's distribution, two-sided 5%.
    [(1, 12.70620), (2, 4.302653), (3, 3.182446), (4, 2.776445), (10, 2.228139), (30, 2.042272), (1e7, 1.959964)],
)
def test_quantiles_are_those_of_the_table(degrees: float, expected: float) -> None:
    assert t_quantile(confidence=0.95, degrees=degrees) == pytest.approx(expected, rel=1e-6)


def test_one_degree_of_freedom_is_cauchy() -> None:
    # P(|T| >= t) = 1 - 2 atan(t) / pi
    for t in (0.0, 0.5, -1.0, 40.0):
        assert t_two_sided_p(t, degrees=1) == pytest.approx(1 - 2 * math.atan(abs(t)) / math.pi)


def test_two_degrees_of_freedom_by_hand() -> None:
    # P(|T| >= t) = 1 - t / sqrt(2 + t^2)
    assert t_two_sided_p(3.0, degrees=2) == pytest.approx(1 - 3 / math.sqrt(11))


def test_many_degrees_are_normal_far_into_the_tail() -> None:
    for t in (0.1, 1.0, 3.0, 8.0):
        assert t_two_sided_p(t, degrees=1e9) == pytest.approx(math.erfc(t / math.sqrt(2)), rel=1e-5)
    assert t_two_sided_p(math.inf, degrees=3) == 0.0


@pytest.mark.parametrize("degrees", [1.0, 1.3, 2.7, 17.5, 4000.0])
def test_quantile_and_probability_are_inverse(degrees: float) -> None:
    assert t_two_sided_p(t_quantile(confidence=0.9, degrees=degrees), degrees=degrees) == pytest.approx(0.1)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="degree of freedom"):
        t_two_sided_p(1.0, degrees=0.5)
    with pytest.raises(ValueError, match="degree of freedom"):
        t_two_sided_p(1.0, degrees=math.nan)
    with pytest.raises(ValueError, match="confidence"):
        t_quantile(confidence=95, degrees=3)
