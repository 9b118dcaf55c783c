"""The formulas of benchmarks/COST.md count what the code does: by the sizes of what compiled passes multiply, by the
counter of torch, and by its tensors."""

import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks are not installed: they live in the checkout
from benchmarks import cost
from lowerbound.models import PPCA, CategoricalMixture, GaussianMixture, Mixture, PoissonMixture, seed

N, D, K = 900, 4, 3


def numbers() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, D)) + 3.0 * np.arange(N)[:, None] % 3


def expected(model, x):
    """The statistics of x at a start, and the flops of the matrix products that they took, compiled or torch's."""
    model = seed(model, x)
    model.expect(x)
    with FlopCounterMode(display=False) as counter:
        found = model.expect(x)
    own = getattr(model.family.visit().compiled(), "flops", 0) if isinstance(model, Mixture) else 0
    return found, N * own + counter.get_total_flops()


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_gaussians(covariance):
    found, flops = expected(GaussianMixture(K, D, covariance), numbers())
    s = cost.statistics(covariance, D)
    assert found.total.shape == (K, s)
    # the 1 adds up to weights; of |y|^2 each square is a statistic of its own
    products = cost.products(N, K, 1 + (2 * D if covariance == "spherical" else s))
    products = cost.tied(N, K, D) if covariance == "tied" else products
    assert products <= flops <= products + 4 * K * D**3  # of the coefficients, whatever N is


def test_counts():
    found, flops = expected(PoissonMixture(K, D), np.random.default_rng(0).poisson(3.0, (N, D)).astype(float))
    assert found.total.shape == (K, D) and flops == cost.products(N, K, 1 + D)


def test_codes_are_looked_up():
    codes = np.random.default_rng(0).integers(0, 4, (N, 6)).astype(float)
    found, flops = expected(CategoricalMixture(K, [4] * 6), codes)
    assert found.total.shape == (K, 24) and flops == 0
    assert len(CategoricalMixture(K, [4] * 20).family.joint.groups) == 4  # of five columns each


def test_ppca():
    q = 2
    found, flops = expected(PPCA(D, q), numbers())
    assert found.total.shape == (1, D + q + D * q + q * q + 1)
    products = 8 * N * D * q + 2 * N * q * q
    assert products <= flops <= products + 4 * N + 100  # and sums over rows as products with their weights


@pytest.mark.parametrize(("k", "d", "covariance", "size"), [(16, 16, "full", 19_600), (16, 16, "diag", 4_240)])
def test_bytes_that_are_summed(k, d, covariance, size):
    x = np.random.default_rng(0).normal(size=(400, d))
    statistics, _ = expected(GaussianMixture(k, d, covariance), x)
    held = sum(getattr(statistics, field.name).numel() * 8 for field in fields(statistics))
    assert held == size == cost.allreduced(k, cost.statistics(covariance, d))


def test_all_reduce_of_two_machines_is_an_exchange_of_halves_or_wholes():
    size, bandwidth, latency = 1000.0, 10.0, 1.0
    assert cost.ring(2, size, bandwidth, latency) == 2 * (1 + 50)
    assert cost.tree(2, size, bandwidth, latency) == 2 * (1 + 100)
    assert cost.halving(2, size, bandwidth, latency) == 2 * (1 + 50)
    times = [f(10**4, 143_632, cost.BANDWIDTH, cost.LATENCY) for f in (cost.halving, cost.tree, cost.ring)]
    assert times == sorted(times)


def test_the_measured_part_of_the_page_is_written_from_a_run(monkeypatch, tmp_path):
    page = tmp_path / "COST.md"
    page.write_text(f"before\n{cost.BEGIN}\nold\n{cost.END}\nafter\n")
    row = {"section": "gemm", "what": "full", "shape": "100k x 32 x 32", "opponent": "dgemm", "ours": 40.0,
           "theirs": 80.0, "ratio": 0.5, "note": "7.17 Gflop a pass"}  # fmt: skip
    about = {"processor": "p", "cores": 2, "caches": {"L2": "1M"}, "threads": {"requested": 2}, "load": 0.1,
             "versions": {"torch": "2"}, "date": "2026-01-01 00:00 UTC"}  # fmt: skip
    run = {"machine": about, "rows": [row]}
    (tmp_path / "latest.json").write_text(json.dumps(run))
    monkeypatch.setattr(cost, "PAGE", page)
    monkeypatch.setattr(cost, "RESULTS", tmp_path / "latest.json")
    assert cost.main() == 0
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "| 7.17 | 40.0 | 80.0 | 50 % |" in text
    assert "take 179 ms a pass" in text  # 1e5 rows, 4 * 1e5 * 32 * 560 flops at 40e9 a second
    with pytest.raises(ValueError, match="no rows of `gemm`"):
        cost.measured({"machine": about, "rows": []})


def test_page_has_its_marks():
    page = (Path(cost.__file__).parent / "COST.md").read_text()
    assert page.count(cost.BEGIN) == page.count(cost.END) == 1
    assert [cost.statistics("full", d) for d in (16, 32)] == [152, 560]
