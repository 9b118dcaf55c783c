"""Functions of the gamma function that keep their digits where torch's lose them, and constants."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...data.traced_rows import plain_rows

LOG2_E = 1 / math.log(2)
LARGE = 64.0  # above this, Stirling's series with the terms below is exact to rounding
TABLE = 1 << 16  # log factorials below this are looked up
NOISE = 1e-14  # a slope in nats below this is rounding alone


def log_factorial(x: Tensor) -> Tensor:
    """log x! of integers x >= 0, elementwise. Many small numbers are looked up, which is several times faster."""
    if x.numel() < TABLE or x.requires_grad:  # a table has no gradient
        return torch.lgamma(x + 1)
    low, top = (float(end) for end in plain_rows(x).aminmax())
    if not 0 <= low <= top < TABLE:
        return torch.lgamma(x + 1)
    return torch.lgamma(torch.arange(1, top + 2, dtype=x.dtype, device=x.device))[x.long()]


def log_gamma_ratio(a: Tensor, x: Tensor) -> Tensor:
    """log Gamma(a + x) - log Gamma(a) for a > 0, x >= 0, elementwise, differentiable.

    The plain difference has an error of log Gamma(a) * 2e-16. For large a, the terms of Stirling's series are
    subtracted one by one instead (Abramowitz & Stegun 6.1.40).
    """
    a, x = torch.broadcast_tensors(a, x)
    large = a > LARGE
    big = torch.where(large, a, LARGE)
    series = (big + x - 0.5) * torch.log1p(x / big) + x * big.log() - x + stirling(big + x) - stirling(big)
    small = torch.where(large, 1.0, a)
    return torch.where(large, series, torch.lgamma(small + x) - torch.lgamma(small))


def log_gamma_divergence(a: Tensor, b: Tensor) -> Tensor:
    """log Gamma(b) - log Gamma(a) - (b - a) digamma(a) >= 0 for a, b > 0, elementwise, differentiable.

    Of such terms the KL divergences between Gamma, Beta, Dirichlet and Wishart distributions are made. It is 0 for
    a = b, and about (b - a)^2 / (2 a) near to it, where the three terms have an error of log Gamma(a) * 2e-16.
    """
    a, b = torch.broadcast_tensors(a, b)
    large = (a > LARGE) & (b > LARGE)
    first, second = torch.where(large, a, LARGE), torch.where(large, b, LARGE)
    u = (second - first) / first
    near = u > -0.9  # else 1 + u loses the digits of second / first
    around = torch.where(near, u, 0.0)
    ratio = torch.where(near, 1.0, second / first)
    deficit = torch.where(near, log1p_deficit(around), u - ratio.log())
    excess = torch.where(near, around * torch.log1p(around) - log1p_deficit(around), ratio * ratio.log() - u)
    series = first * excess + 0.5 * deficit
    series = series + stirling(second) - stirling(first) + (second - first) * _digamma_tail(first)
    first, second = torch.where(large, 1.0, a), torch.where(large, 1.0, b)
    plain = torch.lgamma(second) - torch.lgamma(first) - (second - first) * torch.digamma(first)
    return torch.where(large, series, plain)


def log_minus_digamma(a: Tensor) -> Tensor:
    """log a - digamma(a) > 0 for a > 0, elementwise; about 1 / (2 a) for large a, where a plain difference cancels."""
    big = a.clamp(min=LARGE)
    series = 0.5 / big + _digamma_tail(big)
    small = a.clamp(max=LARGE)
    return torch.where(a > LARGE, series, small.log() - torch.digamma(small))


def log_gamma_deficit(a: Tensor) -> Tensor:
    """a log a - a - log Gamma(a) for a > 0, elementwise; about log(a / (2 pi)) / 2 for large a."""
    big = a.clamp(min=LARGE)
    small = a.clamp(max=LARGE)
    series = 0.5 * (big / (2 * torch.pi)).log() - stirling(big)
    return torch.where(a > LARGE, series, torch.xlogy(small, small) - small - torch.lgamma(small))


def log1p_deficit(u: Tensor) -> Tensor:
    """u - log(1 + u) for u > -1, elementwise; about u^2 / 2 for small u, where the plain difference cancels."""
    small = u.clamp(-0.01, 0.01)
    series = torch.zeros_like(small)
    for power in range(10, 1, -1):  # u^2 / 2 - u^3 / 3 + ...; the next term is below rounding
        series = (-1) ** power / power + small * series
    return torch.where(u.abs() < 0.01, small**2 * series, u - torch.log1p(u))


def ratio_deficit(x: Tensor, unit: Tensor) -> Tensor:
    """u - log(1 + u) with u = x / unit - 1, for x, unit > 0; finite also where x / unit is too small for u to tell."""
    u = x / unit - 1
    near = u > -0.9
    far = x.clamp(min=torch.finfo(x.dtype).smallest_normal * torch.finfo(x.dtype).eps).log() - unit.log()
    return torch.where(near, log1p_deficit(torch.where(near, u, 0.0)), u - far)


def expected_tables(a: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """t = a (digamma(a + x) - digamma(a)) for a > 0, x >= 0, and x - t, each with its own digits.

    For integer x these are the sums of a / (a + j) and of j / (a + j) over j < x: where x customers of a Chinese
    restaurant process of concentration a sit, the expected number of tables, and of those who join one.
    """
    big = a.clamp(min=LARGE)
    tails = 0.5 * x / (big + x) - big * (_digamma_tail(big + x) - _digamma_tail(big))
    small = a.clamp(max=LARGE)
    tables = torch.where(
        a > LARGE, big * torch.log1p(x / big) + tails, small * (torch.digamma(small + x) - torch.digamma(small))
    )
    return tables, torch.where(a > LARGE, big * log1p_deficit(x / big) - tails, x - tables)


def gamma_shape(
    gap: Tensor, slope: Tensor | float = 0.0, pull: Tensor | float = 0.0, extra: Tensor | float = 0.0
) -> Tensor:
    """The shape a of a gamma distribution: the root a > 0 of log(a + extra) - digamma(a) + pull / a = gap + slope.

    The left side falls in a, so that the root is unique. Newton's method in log a, started at Minka's approximation
    (2002, Estimating a gamma distribution).

    Args:
        gap: log of the mean minus mean of the log, >= 0.
        slope: Rate of a gamma prior on a, divided by the weight of the rows.
        pull: Shape - 1 of that prior, divided by the weight of the rows.
        extra: Shape - 1 of a gamma prior on the rate, divided by the weight of the rows.

    Returns:
        The root; infinity if the right side is 0 to rounding.
    """
    wanted = gap + slope
    finite = wanted > 1e-16
    s = torch.where(finite, wanted, 1.0)
    a = (3 - s + ((s - 3) ** 2 + 24 * s).sqrt()) / (12 * s)  # Minka (2002), Estimating a gamma distribution
    a = a + (pull + extra) / s
    for _ in range(50):
        excess = log_minus_digamma(a) + torch.log1p(extra / a) + pull / a - s
        descent = _trigamma_excess(a) + pull / a + extra / (a + extra)  # minus the derivative in log a
        step = (excess / descent.clamp(min=torch.finfo(a.dtype).tiny)).clamp(-1.0, 1.0)
        a = a * step.exp()
        if float(step.abs().max()) < 1e-14:
            break
    return torch.where(finite, a, torch.inf)


def inverse_digamma(value: Tensor, pull: Tensor | float = 0.0) -> Tensor:
    """The root a > 0 of digamma(a) - pull / a = value, pull >= 0.

    It is the shape of gamma rows of rate 1 whose mean log is `value`. The left side is concave in log a, so that
    Newton's method is monotone from its second step. It starts at Minka's approximation (2000, Estimating a Dirichlet
    distribution, appendix C).
    """
    a = torch.where(value >= -2.22, value.exp() + 0.5, -1 / (value.clamp(max=-2.0) + 0.5772156649015329)) + pull
    for _ in range(100):
        excess = torch.digamma(a) - pull / a - value
        step = (-excess / (1 + _trigamma_excess(a) + pull / a)).clamp(-2.0, 2.0)
        a = a * step.exp()
        if float(step.abs().max()) < 1e-14:
            break
    return a


def stirling(a: Tensor) -> Tensor:
    """log Gamma(a) - ((a - 1/2) log a - a + log(2 pi) / 2) for a > 64, to 1e-19."""
    square = a**-2
    return (1 / 12 - (1 / 360 - (1 / 1260 - square / 1680) * square) * square) / a


def _trigamma_excess(a: Tensor) -> Tensor:
    """a trigamma(a) - 1 for a > 0; about 1 / (2 a) for large a, where the plain difference cancels."""
    big, small = a.clamp(min=LARGE), a.clamp(max=LARGE)
    square = big**-2
    series = 0.5 / big + (1 / 6 - (1 / 30 - square / 42) * square) * square  # Abramowitz & Stegun 6.4.12
    return torch.where(a > LARGE, series, small * torch.polygamma(1, small) - 1)


def _digamma_tail(a: Tensor) -> Tensor:
    """log a - 1 / (2 a) - digamma(a) for a > 64, to 1e-19 (Abramowitz & Stegun 6.3.18)."""
    square = a**-2
    return (1 / 12 - (1 / 120 - (1 / 252 - square / 240) * square) * square) * square
