"""Restarts side by side in one tensor end where restarts in turn do; short runs before a long one."""

import sys

import numpy as np
import pytest
import torch
from families import TABLE
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.nn import PyroParam
from torch.distributions import Dirichlet, constraints
from torch.utils.data import TensorDataset

from lowerbound.datasets import load
from lowerbound.inference import EM, SVI, fit
from lowerbound.inference.fitting import restarts as restarts_module
from lowerbound.models import (
    Binarized,
    Categorical,
    Collapse,
    Exponential,
    Family,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Poisson,
    Product,
    StudentT,
)

FIT = sys.modules["lowerbound.inference.fitting.fit"]  # whose name in the package is that of the function
SAME = 1e-10  # nats per row: rounding, over all passes of a run
# an extrapolation multiplies rounding: those of restarts side by side are compared in engines/test_creeping.py
PLAIN = EM(accelerate=None)
BATCHED = [
    name for name, case in TABLE.items() if not case.hard and case.make(2).repeatable and not case.make(2).generalized
]
COVARIANCES = ["full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"]


@pytest.fixture
def lots(monkeypatch):
    """The restarts that each lot in one tensor brought to an end."""
    made, inner = [], restarts_module.run_batched

    def spy(task, restarts, report, passes):
        ends = inner(task, restarts, report, passes)
        made.append(sorted(ends))
        return ends

    monkeypatch.setattr(restarts_module, "run_batched", spy)
    return made


def in_turn(monkeypatch, *arguments, **others):
    with monkeypatch.context() as patch:
        patch.setattr(restarts_module, "can_batch", lambda task: False)
        return fit(*arguments, **others)


def assert_same(a, b, x):
    """The same optima and winning bound, but for rounding, and the same density to what EM's tol leaves open. Of equal
    optima rounding may choose another restart, so that components may be named in another order."""
    assert [(o.count, o.collapsed) for o in a.optima] == [(o.count, o.collapsed) for o in b.optima]
    for one, other in zip(a.optima, b.optima, strict=True):
        assert one.collapsed or abs(one.bound - other.bound) < SAME * (1 + abs(one.bound))
    assert abs(float(a.bounds[-1] - b.bounds[-1])) < SAME * (1 + abs(float(a.bounds[-1])))
    torch.testing.assert_close(a.model.bound(x), b.model.bound(x), rtol=1e-3, atol=1e-3)


def two_clouds():
    """A wide and a narrow one: of five components one often shrinks onto a few rows, but not always."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(40, 2)), 0.3 * rng.normal(size=(40, 2)) + 5])


def drawn(name, n=150, seed=0):
    return TABLE[name].data(n, seed)[0]


def test_all_families_with_an_exact_m_step_run_side_by_side():
    assert set(BATCHED) == {
        "bernoulli", "categorical", "multinomial", "poisson", "exponential", "gamma", "student-dof", "product"
    }  # fmt: skip


@pytest.mark.parametrize("name", BATCHED)
def test_the_same_optima_as_in_turn(name, lots, monkeypatch):
    model, x = TABLE[name].model(), drawn(name)
    side_by_side = fit(model, x, EM(), restarts=5, seed=3, max_passes=40)
    assert lots == [list(range(5))]
    assert_same(side_by_side, in_turn(monkeypatch, model, x, EM(), restarts=5, seed=3, max_passes=40), x)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("prior", [None, "weak"])
def test_the_same_optima_of_every_covariance_and_prior(covariance, prior, lots, monkeypatch):
    x = load("iris")
    model = GaussianMixture(3, 4, covariance, prior=prior, concentration=None if prior is None else 1.5)
    side_by_side = fit(model, x, PLAIN, restarts=4, max_passes=40)
    assert lots == [list(range(4))]
    assert_same(side_by_side, in_turn(monkeypatch, model, x, PLAIN, restarts=4, max_passes=40), x)


@pytest.mark.parametrize(
    "name", ["bernoulli", "categorical", "multinomial", "poisson", "exponential", "gamma", "student-dof"]
)
@pytest.mark.drawn(3)
def test_the_same_optima_under_weak_priors(name, lots, monkeypatch):
    model, x = TABLE[name].model(prior="weak", concentration=2.0), drawn(name)
    side_by_side = fit(model, x, PLAIN, restarts=5, max_passes=40)
    assert lots == [list(range(5))]
    assert_same(side_by_side, in_turn(monkeypatch, model, x, PLAIN, restarts=5, max_passes=40), x)


def test_the_same_optima_of_a_tied_product_with_weights_and_labels(lots, monkeypatch):
    rng = np.random.default_rng(1)
    x, z = TABLE["product"].data(200)
    weights = rng.uniform(0, 2, len(x)).round(1)  # some are 0
    labels = np.where(rng.random(len(x)) < 0.1, z, -1)
    prior = Dirichlet(torch.full((3,), 1.5, dtype=torch.float64))
    family = Product(
        StudentT(3, 2, dof=5.0, covariance="tied", prior="weak"),
        Poisson(3, 1, prior="weak"),
        Categorical(3, [2, 3], prior=prior),
        columns=[[3, 0], [1], [2, 4]],
    )
    given_rows = {"weights": weights, "labels": labels, "restarts": 6, "max_passes": 40}
    side_by_side = fit(Mixture(family, 1.2), x, EM(), **given_rows)
    assert lots == [list(range(6))]
    assert_same(side_by_side, in_turn(monkeypatch, Mixture(family, 1.2), x, EM(), **given_rows), x)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 3), restarts=st.integers(2, 7), lot=st.integers(1, 5))
def test_lots_of_any_size_find_what_runs_in_turn_find(seed, k, restarts, lot):
    x = np.random.default_rng(seed).normal(size=(60, 2)) + 9 * (np.arange(60) % 3)[:, None]
    model = GaussianMixture(k, 2, "tied")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restarts_module, "BATCH_SIZE", lot)
        side_by_side = fit(model, x, EM(), restarts=restarts, seed=seed, max_passes=30)
        assert_same(side_by_side, in_turn(patch, model, x, EM(), restarts=restarts, seed=seed, max_passes=30), x)


def test_each_restart_has_the_bounds_it_has_in_turn(monkeypatch):
    """All of them, not only the winner: they stop by themselves, at passes of their own."""
    seen, x = {}, load("faithful")
    for name in ("together", "in turn"):
        with monkeypatch.context() as patch:
            if name == "in turn":
                patch.setattr(restarts_module, "can_batch", lambda task: False)
            inner, seen[name] = restarts_module.run_restarts, {}

            def spy(*arguments, inner=inner, ends=seen[name], **others):
                for restart, run in inner(*arguments, **others):
                    ends[restart] = (run.bounds, run.reason)
                    yield restart, run

            patch.setattr(FIT, "run_restarts", spy)
            fit(GaussianMixture(3, 2), x, EM(tol=1e-6), restarts=6)
    assert len({len(bounds) for bounds, _ in seen["together"].values()}) > 3
    for restart, (bounds, reason) in seen["in turn"].items():
        other, why = seen["together"][restart]
        assert reason == why and abs(len(bounds) - len(other)) <= 1
        shared = min(len(bounds), len(other))
        np.testing.assert_allclose(other[:shared], bounds[:shared], rtol=0, atol=SAME)


def test_the_first_restart_keeps_the_parameters_that_were_set(lots):
    x = load("faithful")
    best = fit(GaussianMixture(2, 2), x, EM()).model
    again = fit(best, x, EM(tol=1e-6), restarts=4)
    assert lots == [[0, 1, 2, 3]]
    assert len(again.bounds) <= 3 and again.optima[0].count == 4


def test_one_that_collapses_does_not_hold_up_the_others(lots, monkeypatch):
    x, model = two_clouds(), GaussianMixture(5, 2)
    engine = EM(tol=1e-7, accelerate=None)
    side_by_side = fit(model, x, engine, restarts=12)
    assert lots == [list(range(12))]
    assert side_by_side.optima[-1].collapsed and side_by_side.optima[-1].count == 6
    assert_same(side_by_side, in_turn(monkeypatch, model, x, engine, restarts=12), x)


class Brittle(Gaussian):
    """Gaussians whose M-step breaks off where a component has fewer than `fewest` rows."""

    fewest = 20.0

    def maximize(self, weight, total, length=1.0, scatter_weight=None):
        if (weight < self.fewest).any():
            self.origin = self.origin + 3.0  # what a broken step leaves behind must not be seen
            raise Collapse("a component is too small", int((weight < self.fewest).nonzero()[0]))
        super().maximize(weight, total, length, scatter_weight)


def test_a_collapse_in_the_m_step_of_one_leaves_the_others_as_they_are(lots, monkeypatch):
    x = load("faithful")
    model = Mixture(Brittle(3, 2))
    side_by_side = fit(model, x, EM(tol=1e-6), restarts=10)
    collapsed = [o.count for o in side_by_side.optima if o.collapsed]
    assert len(collapsed) == 1 and 0 < collapsed[0] < 10
    assert_same(side_by_side, in_turn(monkeypatch, model, x, EM(tol=1e-6), restarts=10), x)
    assert len(lots) == 1 and len(lots[0]) == 10 - collapsed[0]  # of these alone the steps were made again


def test_all_collapsed_is_an_error_as_in_turn():
    x = np.repeat([[0.0, 0.0], [1.0, 5.0], [3.0, 2.0]], 4, axis=0)
    with pytest.raises(Collapse, match="each of 5 runs ended in a singularity"):
        fit(GaussianMixture(3, 2), x, EM(), restarts=5)


class Falling(Poisson):
    """An M-step that is wrong once a rate is above 15."""

    def match(self, mean):
        super().match(torch.where(mean > 15, mean / 2, mean))


def test_an_error_in_one_is_raised_as_in_turn():
    with pytest.raises(ArithmeticError, match="the bound fell by"):
        fit(Mixture(Falling(3, 2)), drawn("poisson"), EM(), restarts=4)


class Tied(Family):
    """A user's family: exponential waiting times of one rate for all components times a factor of each."""

    def __init__(self):
        super().__init__()
        self.rate = PyroParam(torch.ones(2, 3, dtype=torch.float64), constraints.positive)

    def component(self, z=...):
        import pyro.distributions as dist

        return dist.Exponential(self.rate[z]).to_event(1)

    def statistics(self, x):
        return x

    def match(self, mean):
        self.rate = 1 / mean


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (Mixture(Tied()), {}),
        (KMeans(2, 3), {}),
        (Mixture(Exponential(2, 3)), {"validation": np.ones((4, 3))}),
        (Mixture(Exponential(2, 3)), {"engine": SVI("exact", learning_rate=0.1), "max_passes": 3}),
    ],
)
def test_what_cannot_run_side_by_side_runs_in_turn(model, changes, lots):
    chosen = {"engine": EM(), "restarts": 3, **changes}
    run = fit(model, drawn("exponential"), **chosen)
    assert sum(o.count for o in run.optima) == 3
    assert not any(lots)


def test_checkpoints_large_tables_and_tables_that_draw_run_in_turn(lots, tmp_path):
    x = drawn("poisson")
    model = Mixture(Poisson(2, 2))
    fit(model, x, EM(), restarts=2, checkpoint=tmp_path / "run")
    fit(model, np.tile(x, (250, 1)), EM(tol=1e-3), restarts=2, max_passes=2)
    grey = np.random.default_rng(0).random((40, 3))
    with pytest.raises(ArithmeticError, match="gives other rows"):
        fit(Mixture(TABLE["bernoulli"].make(2).__class__(2, 3)), Binarized(grey), EM(), restarts=2)
    assert lots == []
    fit(model, TensorDataset(torch.as_tensor(x)), EM(), restarts=2)
    assert lots == [[0, 1]]


@pytest.mark.parametrize("short_passes", [None, 3])
def test_same_seed_same_bits_and_no_trace_in_the_random_state(short_passes):
    x = load("faithful")
    before = torch.random.get_rng_state()
    a, b = (fit(GaussianMixture(3, 2), x, EM(), restarts=9, short_passes=short_passes) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a.bounds, b.bounds) and a.optima == b.optima
    for one, other in zip(a.model.parameters(), b.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_model_is_one_like_any_other():
    """Not a view of the batch: its own size, copies, memory and file."""
    x = load("faithful")
    model = fit(GaussianMixture(3, 2, "tied"), x, EM(), restarts=5).model
    assert model.family.copies == 1 and model.family.scale_tril.shape == (2, 2) and model.family.components == 3
    for tensor in [*model.parameters(), *model.buffers()]:
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    assert float(model.bound(x).mean()) == pytest.approx(float(fit(model, x, EM()).bounds[0]), abs=1e-12)


def test_progress_and_times(capsys):
    run = fit(GaussianMixture(2, 2), load("faithful"), EM(), restarts=4, progress=True)
    assert "4/4" in capsys.readouterr().err
    assert (run.times.diff() >= 0).all() and len(run.times) == len(run.bounds) and float(run.times[-1]) <= run.seconds


# short runs, then a long one


@pytest.mark.parametrize("engine", [EM(), SVI("exact", learning_rate=0.1)])
def test_the_best_after_short_runs_goes_on_alone(engine, monkeypatch):
    """By hand: every restart cut off after 4 passes, and the best of them run by itself."""
    x, model, passes = load("faithful"), GaussianMixture(3, 2), 60
    run = fit(model, x, engine, restarts=6, short_passes=4, max_passes=passes)
    starts = []

    def spy(*arguments, inner=restarts_module.run_restarts, **others):
        for restart, end in inner(*arguments, **others):
            starts.append((restart, end))
            yield restart, end

    monkeypatch.setattr(FIT, "run_restarts", spy)
    in_turn(monkeypatch, model, x, engine, restarts=6, max_passes=passes)
    best = max(starts, key=lambda each: each[1].bounds[3])[1]
    assert len({round(end.bounds[3], 6) for _, end in starts}) > 2
    assert [o.count for o in run.optima] == [1]
    np.testing.assert_allclose(run.bounds, best.bounds, rtol=0, atol=SAME)


def test_where_the_best_collapses_the_next_best_goes_on():
    run = fit(GaussianMixture(5, 2), two_clouds(), EM(tol=1e-7), restarts=12, short_passes=10)
    assert [(o.collapsed, o.count) for o in run.optima] == [(False, 1), (True, 1)]
    run.model.check()


def test_short_runs_of_a_single_restart_change_nothing():
    x = load("faithful")
    assert torch.equal(
        fit(GaussianMixture(2, 2), x, EM(), short_passes=2).bounds, fit(GaussianMixture(2, 2), x, EM()).bounds
    )


@pytest.mark.parametrize("passes", [0, -1, 2.5, "5"])
def test_short_passes_must_be_a_number_of_passes(passes, as_users_run_it):
    with pytest.raises(ValueError, match=r"short_passes is .*, expected a whole number of at least 1"):
        fit(GaussianMixture(2, 2), load("faithful"), EM(), restarts=2, short_passes=passes)


def test_short_passes_refuse_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="got short_passes with a checkpoint"):
        fit(GaussianMixture(2, 2), load("faithful"), EM(), short_passes=2, checkpoint=tmp_path / "run")
