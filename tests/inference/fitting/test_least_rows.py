"""Components that rest on few rows or are thin: what a fit says of them, and `least_rows`, which leaves them out."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_checkpoint import killed_at, require_same

from lowerbound import datasets
from lowerbound.inference import EM, SVI, compare, fit, load
from lowerbound.models import (
    BayesianMixture,
    Exponential,
    ExponentialMixture,
    GammaMixture,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    MultinomialMixture,
    NegativeBinomialMixture,
    Poisson,
    PoissonMixture,
    Product,
    StudentTMixture,
)

GALAXIES = datasets.load("galaxies") / 1000
RNG = np.random.default_rng(0)
X = np.r_[RNG.normal(size=(40, 2)), [5, 5] + 0.5 * RNG.normal(size=(4, 2))]  # a group of four rows


def rows_of(fitted, n):
    return (n * fitted.model.weights.detach()).min().item()


@pytest.mark.parametrize("engine", [EM(), SVI("exact", learning_rate=0.1)], ids=["em", "svi"])
def test_few_rows_are_said_everywhere(engine, tmp_path):
    fitted = fit(GaussianMixture(2, 2), X, engine, restarts=3)
    assert rows_of(fitted, 44) == pytest.approx(4, abs=0.1)
    (doubt,) = fitted.doubts
    assert doubt == "a component of weight 0.0909 rests on about 4 rows, fewer than 6" and doubt in repr(fitted)
    assert fitted.model.doubts(88) == []  # twice as many rows
    comparison = compare(X, small=fitted, large=fit(GaussianMixture(1, 2), X, EM()))
    assert f"Perhaps a spurious optimum: try least_rows, more restarts, or a prior\n  small  {doubt}" in str(comparison)
    assert doubt in comparison.report(tmp_path / "report").read_text()
    fitted.save(tmp_path / "model")
    assert load(tmp_path / "model").doubts == fitted.doubts


def test_what_cannot_shrink_is_not_doubted():
    for model in (
        GaussianMixture(2, 2, "tied"),
        GaussianMixture(2, 2, prior="weak"),
        GaussianMixture(2, 2, "diag", variance_floor=0.01),
        BayesianMixture(Gaussian(2, 2)),
        KMeans(2, 2),
    ):
        assert fit(model, X, EM(), restarts=2).doubts == ()
    assert fit(GaussianMixture(2, 2, "diag"), X, EM(), restarts=3).doubts == ()  # four rows are enough


FEW = {
    "gamma": lambda k: GammaMixture(k, 2),
    "poisson": lambda k: PoissonMixture(k, 2),
    "negative binomial": lambda k: NegativeBinomialMixture(k, 2),
    "exponential": lambda k: ExponentialMixture(k, 2),
    "multinomial": lambda k: MultinomialMixture(k, 2),
    "tied": lambda k: GaussianMixture(k, 2, "tied"),
    "product": lambda k: Mixture(Product(Poisson(k, 1), Exponential(k, 1))),
}


@pytest.mark.parametrize("make", FEW.values(), ids=FEW)
def test_every_family_says_so(make):
    """Two rows far from 120 others, which labels keep in a component of their own."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.poisson([5, 90], (60, 2)), rng.poisson([90, 5], (60, 2)), [[500, 501], [510, 490]]] + 1.0
    labels = np.repeat([0, 1, 2], [60, 60, 2])
    (doubt,) = fit(make(3), x, EM(), labels=labels).doubts
    assert doubt == "a component of weight 0.0164 rests on about 2 rows, fewer than 4"
    assert fit(make(2), x[:120], EM(), labels=labels[:120]).doubts == ()


def test_whole_weights_are_frequencies_and_others_are_relative():
    """Weights of 2 are those of a table in which each row stands twice; 0.01 and 1500.5 those of a sample."""
    model = GaussianMixture(2, 2)
    plain, twice = (fit(model, x, EM(), restarts=3) for x in (X, np.repeat(X, 2, 0)))
    assert len(plain.doubts) == 1 and twice.doubts == ()
    for weight, wanted in ((2.0, twice), (0.01, plain), (1500.5, plain)):
        weighted = fit(model, X, EM(), restarts=3, weights=np.full(44, weight))
        assert weighted.doubts == wanted.doubts
        few = fit(model, X, EM(), restarts=3, weights=np.full(44, weight), least_rows=5)
        assert ("fewer than 5 rows" in few.reason) == (wanted is plain)


def test_a_thin_component_is_doubted():
    """By the ratio of eigenvalues, whatever the units of the columns."""
    line = RNG.normal(size=(20, 1)) * [1, 1] + 1e-3 * RNG.normal(size=(20, 2)) + 9
    x = np.r_[RNG.normal(size=(40, 2)), line] * [1, 1000]
    model = fit(GaussianMixture(2, 2), x, EM(), restarts=3).model
    j = int(model.predict(x[-1:]))
    average = sum(w * f @ f.T for w, f in zip(model.weights, model.family.scale_tril, strict=True)).detach()
    own = (model.family.scale_tril[j] @ model.family.scale_tril[j].T).detach()
    ratio = float(torch.linalg.eigvals(torch.linalg.solve(average, own)).real.min())
    assert ratio < 1e-5
    (doubt,) = model.doubts(60)
    assert doubt.endswith(f" is thin: its smallest variance is {ratio:.1g} of that of the average component")
    assert doubt.startswith(f"a component of weight {float(model.weights[j].detach()):.3g} is")
    assert StudentTMixture(2, 2).family.least_rows == GaussianMixture(2, 2).family.least_rows == 3


@pytest.mark.parametrize("short", [None, 10])
def test_least_rows_leaves_restarts_out(short):
    """Side by side in one tensor; the same as by hand among single runs. Published figures keep the best of all."""
    model, settings = GaussianMixture(5, 1), {"max_passes": 300, "short_passes": short}
    best = fit(model, GALAXIES, EM(), restarts=10, **settings)
    kept = fit(model, GALAXIES, EM(), restarts=10, least_rows=2.5, **settings)
    assert rows_of(best, 82) < 2.5 <= rows_of(kept, 82)
    assert float(kept.bounds[-1]) < float(best.bounds[-1]) == best.optima[0].bound
    assert "of fewer than 2.5 rows left out" in kept.reason and kept.optima[0].bound == float(kept.bounds[-1])


def test_one_restart_after_the_other_is_the_same():
    model = GaussianMixture(5, 1)
    together = fit(model, GALAXIES, EM(), restarts=4, least_rows=2.5, max_passes=100)
    in_turn = fit(model, GALAXIES, EM(), restarts=4, least_rows=2.5, max_passes=100, validation=GALAXIES)
    assert together.bounds[-1].item() == pytest.approx(in_turn.bounds[-1].item(), rel=1e-9)
    assert together.reason == in_turn.reason


def test_where_all_restarts_end_so_the_best_is_returned_and_said():
    best = fit(GaussianMixture(2, 2), X, EM(), restarts=3)
    forced = fit(GaussianMixture(2, 2), X, EM(), restarts=3, least_rows=23)
    assert torch.equal(forced.bounds, best.bounds)
    assert "every restart ended with a component of fewer than 23 rows" in forced.reason


@pytest.mark.parametrize("least_rows", [4, 70])
def test_a_resumed_run_leaves_the_same_out(least_rows, tmp_path, monkeypatch):
    """Killed again and again, before, in and after restarts that end too small: all of them where 70 rows are asked."""
    path, model = tmp_path / "run", GaussianMixture(4, 1)
    settings = {"restarts": 4, "least_rows": least_rows, "max_passes": 40}

    def run(**changes):
        return fit(model, GALAXIES, EM(), validation=GALAXIES, **settings | changes)

    whole = run()
    assert whole.reason.endswith("left out" if least_rows < 70 else "this is the best of them")
    for _ in range(3):
        with killed_at(45, monkeypatch), pytest.raises(KeyboardInterrupt):
            run(checkpoint=path)
    assert "small_ends" in load_file(path)
    with pytest.raises(ValueError, match=r"is of least_rows .*, this run has least_rows 3"):
        run(checkpoint=path, least_rows=3)
    require_same(run(checkpoint=path), whole)


def test_arguments(as_users_run_it):
    for wrong in (0, -1, "few", float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"least_rows is .*, expected a positive number of rows"):
            fit(GaussianMixture(2, 2), X, EM(), least_rows=wrong)
    with pytest.raises(TypeError, match="KMeans has no weights that are estimated"):
        fit(KMeans(2, 2), X, EM(), least_rows=3)
