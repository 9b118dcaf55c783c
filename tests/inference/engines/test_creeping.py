"""EM(accelerate="auto"), which accelerates where it creeps: the end of plain EM, in far fewer passes."""

import numpy as np
import pytest
import torch
from families import TABLE
from reference import data

from lowerbound.datasets import load
from lowerbound.inference import EM, fit
from lowerbound.inference.engines.convergence import JUDGED_AFTER, MANY_PASSES, NEAR, ROUNDING_FALL, creeps
from lowerbound.inference.fitting import restarts as restarts_module
from lowerbound.models import CategoricalMixture, GaussianMixture, KMeans, PoissonMixture

PLAIN = EM()
AUTO = EM(accelerate="auto")


def geometric(rate, gain, passes):
    """The bounds of a run whose gains shrink at one rate: sum_t gain rate^t."""
    return np.cumsum(np.concatenate([[-3.0], gain * rate ** np.arange(passes)])).tolist()


def test_a_run_creeps_if_it_is_near_and_has_many_passes_left():
    """Of bounds whose gains shrink by one rate, the passes left have a closed form: log(left / tol) / -log(rate)."""
    for rate in (0.3, 0.5, 0.8, 0.9):
        bounds = geometric(rate, 1e-5, 200)
        found = next((n for n in range(200) if creeps(bounds[:n], 1e-9)), None)
        left = 1e-5 * rate ** (JUDGED_AFTER[0] - 1) / (1 - rate)
        assert (found is not None) == (np.log(left / 1e-9) / -np.log(rate) >= MANY_PASSES)
        assert found is None or found == JUDGED_AFTER[0]
    assert not creeps(geometric(0.95, NEAR, 8), 1e-9)  # far from the optimum
    assert not creeps(geometric(1.05, 1e-5, 60), 1e-9)  # the gains grow


@pytest.mark.parametrize("make", [lambda: GaussianMixture(4, 2, "diag"), lambda: PoissonMixture(2, 1)])
def test_fewer_passes_to_the_same_end(make, as_users_run_it):
    x = load("faithful") if make().family.features == 2 else load("deaths")
    plain, auto = (fit(make(), x, engine, seed=1, max_passes=3000) for engine in (PLAIN, AUTO))
    assert plain.converged and auto.converged
    assert len(plain.bounds) > 3 * len(auto.bounds)
    assert plain.bounds[-1] - 5e-9 <= auto.bounds[-1] < plain.bounds[-1] + 1e-7
    assert (auto.bounds.diff() >= -ROUNDING_FALL * (1 + auto.bounds[1:].abs())).all()
    passes = next(n for n in range(len(auto.bounds)) if creeps(auto.bounds[:n].tolist(), 1e-9))
    assert torch.equal(auto.bounds[:passes], plain.bounds[:passes])  # plain until it creeps: the same bits


def test_a_quick_run_is_that_of_plain_em():
    x = load("faithful")
    assert torch.equal(fit(GaussianMixture(2, 2), x, AUTO).bounds, fit(GaussianMixture(2, 2), x, PLAIN).bounds)
    x = data(n=200, d=2)  # k-means has no path to extrapolate along, whatever its gains look like
    auto, plain = (fit(KMeans(3, 2), x, engine) for engine in (AUTO, PLAIN))
    assert auto.bounds[-1] == plain.bounds[-1] and len(auto.bounds) <= len(plain.bounds) + 1


CASES = {name: case for name, case in TABLE.items() if not case.hard}


@pytest.mark.drawn(4)
@pytest.mark.parametrize("name", CASES)
def test_every_family_ends_as_high_and_never_falls(name):
    case = CASES[name]
    x, _ = case.data(150)
    model = case.set(case.model())
    plain, auto = fit(model, x, PLAIN, max_passes=300), fit(model, x, AUTO, max_passes=300)
    assert (auto.bounds.diff() >= -ROUNDING_FALL * (1 + auto.bounds[1:].abs())).all()
    assert auto.bounds[-1] >= plain.bounds[-1] - 1e-5
    assert auto.bounds[-1].item() == pytest.approx(case.log_evidence(auto.model, x).mean(), rel=1e-10)


BATCHED = {
    "full": (lambda: GaussianMixture(3, 2), lambda: load("faithful")),
    "tied, weak prior": (lambda: GaussianMixture(3, 2, "tied", prior="weak"), lambda: load("faithful")),
    "Poisson": (lambda: PoissonMixture(2, 1), lambda: load("deaths")),
    "classes": (lambda: CategoricalMixture(3, [2] * 7), lambda: load("carcinoma")),
}


@pytest.mark.parametrize("engine", [AUTO, EM(accelerate="squarem")], ids=["auto", "squarem"])
@pytest.mark.parametrize("name", BATCHED)
def test_restarts_in_one_tensor_take_the_steps_of_each_in_turn(name, engine, monkeypatch, as_users_run_it):
    make, rows = BATCHED[name]
    together = fit(make(), rows(), engine, restarts=4)
    monkeypatch.setattr(restarts_module, "can_batch", lambda runner: False)
    in_turn = fit(make(), rows(), engine, restarts=4)
    assert [(one.count, one.collapsed) for one in together.optima] == [(o.count, o.collapsed) for o in in_turn.optima]
    for ours, theirs in zip(together.optima, in_turn.optima, strict=True):
        assert ours.bound == pytest.approx(theirs.bound, abs=1e-7)


def test_an_accelerated_run_resumes_to_the_same_bits(tmp_path, as_users_run_it):
    """Killed before, at and after the pass from which it is accelerated."""
    x = load("deaths")
    start = PoissonMixture(2, 1)
    start.weights, start.family.rate = [0.3, 0.7], [[1.0], [2.5]]
    whole = fit(start, x, AUTO, checkpoint=tmp_path / "whole")
    passes = next(n for n in range(len(whole.bounds)) if creeps(whole.bounds[:n].tolist(), 1e-9))
    assert passes + 4 < len(whole.bounds)

    class Killed(Exception):
        pass

    for last in (passes - 1, passes, passes + 1, passes + 4):
        with pytest.MonkeyPatch.context() as patch:
            from lowerbound.inference.fitting.checkpoint import Checkpoint

            write = Checkpoint.write

            def write_and_die(self, found, run=None, *rest, write=write, last=last):
                write(self, found, run, *rest)
                if run is not None and len(run.bounds) == last:
                    raise Killed

            patch.setattr(Checkpoint, "write", write_and_die)
            with pytest.raises(Killed):
                fit(start, x, AUTO, checkpoint=tmp_path / f"{last}")
        resumed = fit(start, x, AUTO, checkpoint=tmp_path / f"{last}")
        assert torch.equal(resumed.bounds, whole.bounds)
        assert torch.equal(resumed.model.family.rate, whole.model.family.rate)
