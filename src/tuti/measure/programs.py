"""pass@k: how often one of k programs is right, estimated from n ≥ k of each problem (Chen et al. 2021)."""

import math
from collections.abc import Sequence

from .binomial import binomial_interval
from .bootstrap import Interval, ratio_interval


def pass_at_k(n: int, right: int, k: int) -> float:
    """1 - C(n - right, k) / C(n, k), equation 1, as a product, so that no factorial overflows."""
    assert 0 <= right <= n and 1 <= k <= n, (n, right, k)
    return 1 - math.prod(1 - k / i for i in range(n - right + 1, n + 1)) if n - right >= k else 1.0


def pass_at_k_interval(right: Sequence[int], n: int, k: int) -> Interval:
    """The mean over problems; its interval is of problems drawn anew, exact where each is 0 or 1."""
    values = [pass_at_k(n, count, k) for count in right]
    if all(value in (0, 1) for value in values):
        return binomial_interval(int(sum(values)), len(values))
    return ratio_interval(values, [1.0] * len(values))
