"""Student's t distribution for any number of degrees of freedom, for intervals over few seeds."""

import math
from functools import lru_cache

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


def t_two_sided_p(t: float, *, degrees: float) -> float:
    r"""Probability that a t variable lies at least as far from 0 as ``t``.

    With :math:`t = \sqrt{\nu} \tan\theta` the density becomes a power of the cosine (Abramowitz and Stegun, 26.7.1):

    .. math:: P(|T| \ge t) = \frac{2\,\Gamma((\nu + 1)/2)}{\sqrt{\pi}\,\Gamma(\nu/2)}
              \int_\theta^{\pi/2} \cos^{\nu - 1} u \, du

    Args:
        t: any real number; its sign does not matter. Infinity gives 0.
        degrees: degrees of freedom, at least 1; need not be whole.
    """
    if not degrees >= 1:
        raise ValueError(f"expected at least one degree of freedom, received {degrees}")
    root = math.sqrt(degrees)
    start = math.atan(abs(t) / root)
    # Values 40 standard deviations further out are below the smallest float.
    end = min(math.pi / 2, start + 40 / root)
    num_panels = 1 + math.ceil((end - start) * root)
    edges = np.linspace(start, end, num_panels + 1)
    half = (edges[1] - edges[0]) / 2
    angles = (edges[:-1] + half)[:, None] + half * _NODES
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) + math.log(2 / math.sqrt(math.pi))
    heights = np.exp(log_scale + (degrees - 1) * np.log(np.cos(angles)))
    return min(1.0, float(half * (heights @ _WEIGHTS).sum()))


@lru_cache(maxsize=4096)
def t_quantile(*, confidence: float, degrees: float) -> float:
    """Half-width, in standard errors, of a two-sided interval: 12.71 for 95% and one degree of freedom, 1.96 for many.

    Args:
        confidence: in (0, 1).
        degrees: degrees of freedom, at least 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, received {confidence}")
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if t_two_sided_p(math.sqrt(degrees) * math.tan(middle), degrees=degrees) > 1 - confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)
