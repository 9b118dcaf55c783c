"""Rows held out: their bound at every pass, and stopping by it."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from reference import bits, data, log_evidence
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lowerbound.inference import EM, SVI, fit, load
from lowerbound.inference.engines.data_bound import data_bound, gradient_norm
from lowerbound.models import Collapse, GaussianMixture, Rows

X, HELD = np.split(data(n=130, d=2), [90])
ENGINES = {"em": EM(tol=0), "svi": SVI("exact", decay=1.0), "sampled": SVI(batch_size=30, decay=1.0)}


# the numbers


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())
def test_held_out_is_the_evidence_of_the_model_at_each_pass(engine):
    """Without the prior; the model of a pass is what a run of so many passes returns."""
    weights, labels = np.arange(40.0), np.where(np.arange(40) % 5 == 0, 1, -1)
    held = Rows(HELD, weights, labels)
    whole = fit(GaussianMixture(2, 2, prior="weak"), X, engine, max_passes=6, validation=held)
    assert whole.held_out.shape == whole.bounds.shape == (6,)
    assert whole.held_out.dtype == torch.float64
    for t in range(6):
        model = fit(GaussianMixture(2, 2, prior="weak"), X, engine, max_passes=t + 1).model
        by_hand = log_evidence(model, HELD, labels) @ weights / weights.sum()
        assert whole.held_out[t].item() == pytest.approx(by_hand, rel=1e-11)
        assert data_bound(model, Rows(X)).item() == pytest.approx(whole.bounds[t].item(), rel=1e-14)


def shuffled():
    return DataLoader(TensorDataset(torch.tensor(HELD)), batch_size=7, shuffle=True)


@pytest.mark.parametrize("held", [HELD, TensorDataset(torch.tensor(HELD)), shuffled()], ids=["array", "set", "loader"])
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())
def test_looking_changes_nothing(engine, held):
    """One start: where nobody looks on, several of EM run side by side, and round in another way."""
    plain, watched = (fit(GaussianMixture(2, 2), X, engine, max_passes=5, validation=v) for v in (None, held))
    assert bits(plain.model) == bits(watched.model)
    assert torch.equal(plain.bounds, watched.bounds)
    assert plain.held_out is None and plain.reason == watched.reason
    expected = fit(GaussianMixture(2, 2), X, engine, max_passes=5, validation=HELD).held_out
    torch.testing.assert_close(watched.held_out, expected, rtol=1e-12, atol=0)


def test_names_are_read_as_those_of_the_fit():
    table, held = pd.DataFrame(X, columns=["a", "b"]), pd.DataFrame(HELD, columns=["a", "b"])
    straight, turned = (
        fit(GaussianMixture(2, 2), table, EM(), max_passes=3, validation=h).held_out for h in (held, held[["b", "a"]])
    )
    assert torch.equal(straight, turned)


# patience, by a script


class Scripted(nn.Module):
    """A model whose bound of every row is its one parameter; float32, as on a GPU."""

    def __init__(self, flawed=()):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))
        self.flawed = flawed

    def model(self, x, weights=None, labels=None, rows=None):
        raise NotImplementedError

    guide = posterior = model

    def objective(self, x, labels=None):
        return self.level.expand(len(x))

    def bound(self, x, labels=None):
        return self.objective(x).detach()

    def evidence(self, x):
        return None

    def global_term(self):
        return torch.ones(())

    def sample(self, n, seed=None):
        raise NotImplementedError

    def initialize(self, x, weights, generator, redraw=True):
        pass

    def free_parameters(self):
        return 1

    def check(self):
        if self.level.item() in self.flawed:
            raise Collapse(f"collapsed at {self.level.item():g}")


@dataclass(frozen=True)
class Script:
    """An engine that plays the held-out bounds of each restart, and its own bounds, and converges where told."""

    held_out: tuple
    bounds: tuple = ()
    converged: int = 0

    def passes(self, model, rows, max_passes, generator):
        restart = generator.initial_seed()  # fit's seed is 0
        for number, level in enumerate(self.held_out[restart]):
            model.level.data[:] = level
            yield torch.tensor(self.bounds[restart] if self.bounds else float(number), dtype=torch.float64)

    def stop(self, bounds, max_passes):
        return "converged: so it says" if len(bounds) == self.converged else None


EARLY = "stopped early: the held-out bound has not risen in {} passes; the model is that of pass {}"
LAST = "stopped at max_passes={} before it converged"
# held-out bounds, patience, max_passes, pass of the engine's end; passes run, pass of the model, converged, reason
SCRIPTS = {
    "rise and fall": ([1, 2, 3, 2, 1, 0], 2, 99, 0, 5, 3, True, EARLY.format(2, 3)),
    "patience of one": ([1, 2, 1.5, 9], 1, 99, 0, 3, 2, True, EARLY.format(1, 2)),
    "falls from the start": ([5, 4, 3, 2, 1], 3, 99, 0, 4, 1, True, EARLY.format(3, 1)),
    "no rise is no gain": ([1, 2, 2, 2, 2, 2], 3, 99, 0, 5, 2, True, EARLY.format(3, 2)),
    "a second wind": ([1, 3, 2, 4, 3, 2, 5, 1, 1, 1], 3, 99, 0, 10, 7, True, EARLY.format(3, 7)),
    "patience is not over": ([1, 3, 2, 1], 3, 4, 0, 4, 2, False, LAST.format(4) + "; the model is that of pass 2"),
    "still rising": ([1, 2, 3], 2, 3, 0, 3, 3, False, LAST.format(3)),
    "the engine ends first": (
        [1, 3, 2, 2.5],
        5,
        99,
        4,
        4,
        2,
        True,
        "converged: so it says; the model is that of pass 2",
    ),
    "both end at once": ([1, 3, 2, 1], 2, 99, 4, 4, 2, True, "converged: so it says; the model is that of pass 2"),
    "the engine ends at the top": ([1, 2, 3], 5, 99, 3, 3, 3, True, "converged: so it says"),
    "impossible rows at first": ([-np.inf, -np.inf, 1, 0, 0], 2, 99, 0, 5, 3, True, EARLY.format(2, 3)),
    "impossible rows throughout": ([-np.inf] * 5, 2, 99, 0, 3, 1, True, EARLY.format(2, 1)),
    "no patience": ([3, 2, 1], None, 3, 0, 3, 3, False, LAST.format(3)),
}


@pytest.mark.parametrize(
    ("held_out", "patience", "most", "end", "run", "best", "converged", "reason"), SCRIPTS.values(), ids=SCRIPTS.keys()
)
def test_patience(held_out, patience, most, end, run, best, converged, reason):
    engine = Script((held_out,), converged=end)
    result = fit(Scripted(), X, engine, max_passes=most, validation=HELD, patience=patience)
    assert result.held_out.tolist() == held_out[:run]
    assert result.bounds.tolist() == list(range(best))  # that of the model returned is the last
    assert len(result.times) == best
    assert result.model.level.item() == held_out[best - 1]
    assert (result.converged, result.reason) == (converged, reason)
    assert [o.bound for o in result.optima] == [best - 1]


def test_the_restart_of_the_best_held_out_bound_wins_under_patience():
    engine = Script(([1, 4, 2, 2], [1, 3, 9, 2], [2, 5, 1, 1]), bounds=(7.0, 5.0, 6.0))
    patient = fit(Scripted(), X, engine, restarts=3, max_passes=4, validation=HELD, patience=2)
    assert (patient.model.level.item(), patient.bounds.tolist()) == (9, [5.0] * 3)
    assert [o.bound for o in patient.optima] == [7, 6, 5]  # as ever, by the bound
    watched = fit(Scripted(), X, engine, restarts=3, max_passes=4, validation=HELD)
    assert (watched.model.level.item(), watched.bounds.tolist()) == (2, [7.0] * 4)


def test_a_collapse_counts_where_the_model_is_from():
    engine = Script(([1, 3, 2, 1],))
    late = fit(Scripted(flawed=(1,)), X, engine, validation=HELD, patience=2)
    assert late.model.level.item() == 3
    with pytest.raises(Collapse, match="collapsed at 3"):
        fit(Scripted(flawed=(3,)), X, engine, validation=HELD, patience=2)
    with pytest.raises(Collapse, match="collapsed at 1"):
        fit(Scripted(flawed=(1,)), X, engine, validation=HELD, max_passes=4)


def test_em_that_overfits_is_stopped_at_its_best():
    """The same by hand: of all models on the way, the one of the highest evidence of the rows held out."""
    result = fit(GaussianMixture(6, 2, prior="weak"), X[:40], EM(tol=0), validation=HELD, patience=10, max_passes=200)
    assert result.converged and len(result.held_out) == len(result.bounds) + 10
    on_the_way = [
        log_evidence(fit(GaussianMixture(6, 2, prior="weak"), X[:40], EM(tol=0), max_passes=t + 1).model, HELD).mean()
        for t in range(len(result.held_out))
    ]
    assert int(np.argmax(on_the_way)) == len(result.bounds) - 1
    assert log_evidence(result.model, HELD).mean() == pytest.approx(max(on_the_way), rel=1e-12)
    assert data_bound(result.model, Rows(X[:40])).item() == pytest.approx(result.bounds[-1].item(), rel=1e-14)


def test_a_held_out_bound_that_is_no_number_is_an_error():
    with pytest.raises(ArithmeticError, match="the held-out bound became nan in pass 2"):
        fit(Scripted(), X, Script(([1, float("nan"), 1],)), max_passes=3, validation=HELD)


# what is refused


@pytest.mark.parametrize("patience", [0, -1, 1.5, "2"])
def test_patience_is_a_whole_number(patience, as_users_run_it):
    with pytest.raises(ValueError, match=f"patience is {patience!r}, expected a whole number of at least 1"):
        fit(GaussianMixture(2, 2), X, EM(), validation=HELD, patience=patience)


def test_patience_needs_validation():
    with pytest.raises(ValueError, match="patience is 5 without validation: pass validation=rows"):
        fit(GaussianMixture(2, 2), X, EM(), patience=5)


def spoiled():
    x = HELD.copy()
    x[7, 1] = np.inf
    return x


TABLES = {
    "columns": (np.ones((4, 3)), ValueError, "validation has 3 columns, expected 2, as the rows of the fit"),
    "shape": (np.ones(4), ValueError, r"validation: got an array of shape \(4,\)"),
    "words": (pd.DataFrame({"a": ["x"], "b": [1.0]}), TypeError, "validation: column 'a' holds"),
    "infinity": (spoiled(), ValueError, "validation: row 7, column 1 holds an infinite value, expected finite"),
    "no rows": (np.ones((0, 2)), ValueError, "validation: got an empty table"),
}


@pytest.mark.parametrize(("held", "kind", "words"), TABLES.values(), ids=TABLES.keys())
def test_what_is_wrong_with_the_validation_rows_is_said(held, kind, words, as_users_run_it):
    with pytest.raises(kind, match=words):
        fit(GaussianMixture(2, 2), X, EM(), validation=held)


# kept and shown


def test_held_out_is_saved_and_files_without_it_are_read(tmp_path):
    saved = fit(GaussianMixture(2, 2), X, EM(tol=0), max_passes=9, validation=HELD, patience=2)
    path = tmp_path / "fit"
    saved.save(path)
    assert torch.equal(load(path).held_out, saved.held_out)

    with safe_open(path, framework="pt") as file:  # as the first version wrote it
        header = json.loads(file.metadata()["lowerbound"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header.pop("kind")
    header["format"] = 1
    tensors.pop("held_out")
    save_file(tensors, path, metadata={"lowerbound": json.dumps(header)})
    assert load(path).held_out is None
    assert torch.equal(load(path).bounds, saved.bounds)


def test_the_bar_shows_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = []
    for held in (None, HELD):
        result = fit(GaussianMixture(2, 2), X, EM(), max_passes=3, progress=True, validation=held)
        shown.append(capsys.readouterr().err)
    assert f"{result.bounds[-1]:.6f} nats per row" in shown[0] and "held out" not in shown[0]
    assert f"{result.bounds[-1]:.6f} nats per row, {result.held_out[-1]:.6f} held out" in shown[1]


# precision


def test_sums_are_in_double_precision_whatever_the_model():
    """A float32 model: 100 000 rows of .1 each would lose digits if added in its own precision."""
    model = Scripted()
    model.level.data[:] = 0.1
    rows = Rows(np.zeros((100_000, 1)), np.linspace(0.5, 1.5, 100_000))
    level, weight = model.level.item(), rows.total_weight
    assert data_bound(model, rows).dtype == torch.float64
    assert data_bound(model, rows).item() == pytest.approx(level + 1 / weight, rel=1e-14)
    assert gradient_norm(model, rows) == pytest.approx(1.0, rel=1e-6)


def test_the_learning_rate_is_the_models_where_nobody_says():
    def moved(learning_rate, own=None):
        model = GaussianMixture(2, 2)
        if own is not None:
            model.learning_rate = own
        return fit(model, X, SVI("exact", learning_rate), max_passes=2).bounds

    assert torch.equal(moved(None), moved(0.05))
    assert torch.equal(moved(None, own=1e-3), moved(1e-3))
    assert torch.equal(moved(0.05, own=1e-3), moved(0.05))
    assert not torch.equal(moved(None), moved(1e-3))


def test_the_rate_falls_geometrically_to_its_end(monkeypatch):
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    fit(GaussianMixture(2, 2), X, SVI("exact", 0.2, batch_size=30, decay=0.01), max_passes=5)
    # the last of five passes is never improved upon: 4 x 3 of 15 steps
    np.testing.assert_allclose(rates, 0.2 * 0.01 ** (np.arange(12) / 15), rtol=1e-12)
