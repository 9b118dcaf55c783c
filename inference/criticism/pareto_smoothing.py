"""Pareto-smoothed importance sampling: the largest weights replaced by quantiles of the distribution of the tail.

Vehtari, Simpson, Gelman, Yao & Gabry, Journal of Machine Learning Research 25 (2024), 72.
"""

from __future__ import annotations

import math

import numpy as np

EQUAL = 1e-6  # nats: log ratios that differ by less differ by rounding


def pareto_smoothed(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed log ratios (s,), and the shape k of their tail: 0 if all ratios are equal, infinite if too few differ.

    The largest min(s / 5, 3 sqrt(s)) ratios become quantiles of the generalized Pareto distribution fitted to them.
    """
    if np.ptp(log_ratios) < EQUAL:
        return log_ratios.copy(), 0.0
    top = log_ratios.max()
    x = log_ratios - top
    order = x.argsort(kind="stable")
    size = math.ceil(min(len(x) / 5, 3 * math.sqrt(len(x))))
    cutoff = max(x[order[-size - 1]], math.log(np.finfo(float).tiny))
    tail = order[x[order] > cutoff]
    if len(tail) <= 4:
        return log_ratios.copy(), math.inf
    k, scale = _fit_generalized_pareto(np.exp(x[tail]) - math.exp(cutoff))
    if not math.isfinite(k):
        return log_ratios.copy(), math.inf
    # quantiles of Exp(1), from which those of a Pareto follow
    exponential = -np.log1p(-np.arange(0.5, len(tail)) / len(tail))
    quantiles = scale * (np.expm1(k * exponential) / k if abs(k) > 1e-30 else exponential)
    x[tail] = np.minimum(np.log(quantiles + math.exp(cutoff)), 0)
    return x + top, k


def _fit_generalized_pareto(x: np.ndarray) -> tuple[float, float]:
    """Shape and scale of the generalized Pareto distribution of x > 0, sorted: the posterior mean of Zhang & Stephens
    (Technometrics 51, 2009, 316-325), its shape shrunk to 0.5 by a prior worth ten observations."""
    from scipy.special import softmax  # here: it is slow to import

    n = len(x)
    points = 30 + int(math.sqrt(n))
    b = 1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    b = b / (3 * x[int(n / 4 + 0.5) - 1]) + 1 / x[-1]
    shape = np.log1p(-b[:, None] * x).mean(1)
    weight = softmax(n * (np.log(-b / shape) - shape - 1))
    best = float(b @ weight)
    k = float(np.log1p(-best * x).mean())
    return (n * k + 10 * 0.5) / (n + 10), -k / best
