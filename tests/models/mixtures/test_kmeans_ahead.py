"""Compiled k-means held to Lloyd's steps written out, and its starts to the torch code that draws them elsewhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lowerbound.data import Rows
from lowerbound.inference import EM, fit
from lowerbound.inference.engines.data_bound import gradient_norm
from lowerbound.models import KMeans, seed
from lowerbound.models.mixtures import kmeans_ahead
from lowerbound.models.mixtures.starts import kmeans_plus_plus

tables = st.integers(3, 40).flatmap(
    lambda n: st.lists(st.tuples(st.integers(-4, 4), st.integers(-2, 2)), min_size=n, max_size=n)
)


def blobs(n, d, k, draw=0):
    rng = np.random.default_rng(draw)
    return 2.0 * rng.normal(size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))


def squared(x, centres):
    """(n, k) squared distances."""
    return np.square(x[:, None] - centres).sum(-1)


@settings(deadline=None, max_examples=40)
@given(tables, st.integers(1, 5), st.integers(0, 99), st.booleans(), st.booleans(), st.sampled_from([5, 1000]))
def test_each_pass_is_lloyds_step(rows, k, draw, weighted, labelled, part):
    """Duplicates and ties of whole numbers, weights, labels, empty clusters; in one part and in several."""
    x, rng = np.array(rows, dtype=float) + 0.25, np.random.default_rng(draw)
    weights = torch.from_numpy(rng.uniform(0.5, 3.0, len(x))) if weighted else None
    labels = torch.from_numpy(np.where(rng.random(len(x)) < 0.2, rng.integers(k, size=len(x)), -1))
    known = labels.numpy() if labelled else np.full(len(x), -1)
    w = np.ones(len(x)) if weights is None else weights.numpy()
    model = KMeans(k, 2)
    model.loc = torch.from_numpy(x[rng.integers(len(x), size=k)] + rng.choice([0.0, 0.1], (k, 2)))
    model.family.scale = 1.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kmeans_ahead, "AHEAD", 1)  # so that the clusters seen are those of the last pass
        patch.setattr(kmeans_ahead, "PART_ROWS", part)
        ahead = kmeans_ahead.KMeansAhead(model, k, torch.from_numpy(x), weights, labels if labelled else None)
        before = model.loc.detach().numpy().copy()
        for _ in range(12):
            variance = ahead.variance
            bound = ahead.advance()
            centres, near = model.loc.detach().numpy(), ahead.bounds[0]
            if bound is None:
                assert (np.bincount(near[near >= 0], minlength=k) == 0).any() or len(np.unique(centres, axis=0)) < k
                break
            np.testing.assert_allclose(centres, before, atol=1e-12)
            distances = squared(x, centres)
            own = np.where(known < 0, distances.min(1), distances[np.arange(len(x)), known])
            np.testing.assert_allclose(distances[np.arange(len(x)), near], own, atol=1e-12)
            per_row = -np.log(k) - np.log(2 * np.pi * variance) - w @ own / (2 * variance * w.sum())
            assert float(bound) == pytest.approx(per_row, rel=1e-11)
            before = np.stack([np.average(x[near == j], axis=0, weights=w[near == j]) for j in range(k)])
            after = squared(x, before)[np.arange(len(x)), near]
            rounding = 1e-12 * (w @ own) / (2 * w.sum())
            wanted = max(w @ after / (2 * w.sum()), ahead.least)
            assert ahead.variance == pytest.approx(wanted, rel=1e-9, abs=rounding)


@pytest.mark.parametrize("shape", [(3000, 3, 9), (900, 20, 30), (500, 1, 4)])
def test_a_run_is_that_of_plain_passes(shape, monkeypatch):
    """Bounds, centres, reason: by rows in one part and in several; far from zero, too."""
    x, k = blobs(*shape) + 1e4, shape[2]
    found = [fit(KMeans(k, shape[1]), x, EM())]
    monkeypatch.setattr(kmeans_ahead, "PART_ROWS", 128)
    found.append(fit(KMeans(k, shape[1]), x, EM()))
    monkeypatch.setattr(KMeans, "passes_ahead", lambda self, rows: None)
    slow = fit(KMeans(k, shape[1]), x, EM())
    for fast in found:
        assert fast.reason == slow.reason
        np.testing.assert_allclose(fast.bounds, slow.bounds, rtol=1e-10)
        np.testing.assert_allclose(fast.model.loc.detach(), slow.model.loc.detach(), rtol=1e-10)
        assert fast.model.family.scale.item() == pytest.approx(slow.model.family.scale.item(), rel=1e-10)


def test_the_same_bits_on_one_thread_and_on_two(monkeypatch):
    monkeypatch.setattr(kmeans_ahead, "PART_ROWS", 700)
    x, threads, found = blobs(9000, 8, 6), torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(fit(KMeans(6, 8), x, EM(), max_passes=9))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0].bounds, found[1].bounds)
    assert torch.equal(found[0].model.loc, found[1].model.loc)


@pytest.mark.parametrize("weighted", [False, True])
def test_restarts_are_those_made_one_at_a_time(weighted, tmp_path):
    """A checkpoint makes them in turn, by plain passes."""
    x = blobs(300, 2, 8)
    weights = np.random.default_rng(1).uniform(0, 2, 300).round() if weighted else None
    together = fit(KMeans(8, 2), x, EM(), weights=weights, restarts=6, seed=3)
    in_turn = fit(KMeans(8, 2), x, EM(), weights=weights, restarts=6, seed=3, checkpoint=tmp_path / "run")
    assert together.reason == in_turn.reason
    np.testing.assert_allclose(together.bounds, in_turn.bounds, rtol=1e-11)
    for one, other in zip(together.optima, in_turn.optima, strict=True):
        assert (one.count, one.bound) == (other.count, pytest.approx(other.bound, rel=1e-11))
    torch.testing.assert_close(together.model.loc, in_turn.model.loc)
    assert together.gradient_norm == pytest.approx(in_turn.gradient_norm, abs=1e-11)


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 70), st.booleans(), st.booleans())
def test_compiled_draws_are_those_of_torch(draw, k, d, weighted, some_known):
    rng = np.random.default_rng(draw)
    x = torch.from_numpy(rng.normal(size=(400, d)))
    weights = torch.from_numpy(rng.integers(0, 4, 400).astype(float)) if weighted else None
    known = {k // 2: x[:5].mean(0)} if some_known else None
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        for off in ("0", "1"):
            patch.setenv("NUMBA_DISABLE_JIT", off)
            generators = [torch.Generator().manual_seed(own) for own in (draw, draw + 1)]
            centres = kmeans_plus_plus(x, weights, k, generators, known)
            drawn.append((centres, [torch.rand(1, generator=own) for own in generators]))
    torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=0)


def test_too_few_distinct_rows_are_refused_and_the_random_state_is_as_before():
    x = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match="the data have 2 distinct rows"):
        kmeans_plus_plus(x, None, 3, [torch.Generator().manual_seed(0)])
    spare = kmeans_plus_plus(x, None, 3, [torch.Generator().manual_seed(0)], spare=True)
    assert sorted(set(spare.flatten().tolist())) == [0.0, 1.0]


@pytest.mark.parametrize("frozen", [(), ("loc",), ("scale",)])
def test_the_gradient_from_the_sums_is_that_of_autograd(frozen):
    x, rng = blobs(200, 3, 4), np.random.default_rng(0)
    rows = Rows(x, rng.integers(0, 3, 200), np.where(rng.random(200) < 0.1, 2, -1))
    model = seed(KMeans(4, 3), x).freeze(*frozen) if frozen else seed(KMeans(4, 3), x)
    parameters = [p for p in model.parameters() if p.requires_grad]
    bound = model.objective(torch.from_numpy(x), rows.labels) @ rows.weights / rows.total_weight
    autograd = torch.autograd.grad(bound, parameters, allow_unused=True)
    norm = torch.cat([g.flatten() for g in autograd if g is not None]).norm()
    assert norm > 1e-3
    assert gradient_norm(model, rows) == pytest.approx(float(norm), rel=1e-10)
    with pytest.raises(TypeError, match=r"expected what KMeans.expect returns"):
        model.expected_log_joint(object())


@pytest.mark.parametrize("n", [6, 20_000])
def test_a_table_whose_rows_are_there_twice_is_still_merged(n):
    x = np.random.default_rng(0).permutation(np.repeat(np.arange(n // 2), 2)).astype(float).reshape(-1, 1)
    assert len(Rows(x).merged) == n // 2
    assert len(Rows(np.arange(float(n)).reshape(-1, 1)).merged) == n
