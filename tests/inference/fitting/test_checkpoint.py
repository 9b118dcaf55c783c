"""Checkpoints: a run that was killed ends in the same bits as one that was not, and no other file is ever touched."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from reference import bits, data, repeated
from safetensors import safe_open
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lowerbound.inference import EM, SVI, OnlineEM, fit, load
from lowerbound.models import (
    Bernoulli,
    Collapse,
    GaussianMixture,
    KMeans,
    Mixture,
    NegativeBinomialMixture,
    Rows,
    StudentTMixture,
)

X, HELD = np.split(data(n=130, d=2), [90])
COUNTS = np.random.default_rng(0).negative_binomial(3, 0.2, (80, 2)).astype(float)
WEIGHTS = np.random.default_rng(1).integers(0, 4, len(X)).astype(float)
LABELS = np.where(np.arange(len(X)) % 9 == 0, 0, -1)


class Drawn(Dataset):
    """Rows of 0 and 1 that are drawn anew at each reading, from torch's random state."""

    def __init__(self):
        self.chance = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.chance)

    def __getitem__(self, i):
        return torch.bernoulli(self.chance[i]).double()


def shuffled():
    return DataLoader(TensorDataset(torch.tensor(X)), batch_size=20, shuffle=True)


# what is fitted, to what, by what, and how
RUNS = {
    "em": (lambda: GaussianMixture(3, 2), X, EM(), {"max_passes": 9}),
    "em that converges": (lambda: GaussianMixture(2, 2), X, EM(tol=1e-3), {}),
    "weights and labels": (
        lambda: GaussianMixture(3, 2, prior="weak"),
        X,
        EM(),
        {"max_passes": 6, "weights": WEIGHTS, "labels": LABELS},
    ),
    "k-means": (lambda: KMeans(4, 2), X, EM(tol=0.0), {"max_passes": 6, "restarts": 2}),
    "generalized": (lambda: StudentTMixture(2, 2), X, EM(), {"max_passes": 9}),
    "generalized counts": (lambda: NegativeBinomialMixture(2, 2), COUNTS, EM(), {"max_passes": 8}),
    "restarts": (lambda: GaussianMixture(3, 2), X, EM(), {"max_passes": 4, "restarts": 3}),
    "collapses": (lambda: GaussianMixture(4, 2), repeated(), EM(), {"max_passes": 40, "restarts": 4}),
    "svi": (lambda: GaussianMixture(2, 2), X, SVI("exact"), {"max_passes": 6}),
    "sampled in batches": (lambda: GaussianMixture(2, 2), X, SVI(batch_size=40), {"max_passes": 6, "restarts": 3}),
    "enumerated in batches": (
        lambda: GaussianMixture(2, 2),
        X,
        SVI("enumerated", batch_size=40),
        {"max_passes": 4, "weights": WEIGHTS + 1},
    ),
    "validation": (lambda: GaussianMixture(2, 2), X, SVI(batch_size=40), {"max_passes": 6, "validation": HELD}),
    "patience": (
        lambda: GaussianMixture(2, 2),
        X,
        EM(tol=0.0),
        {"max_passes": 40, "restarts": 3, "validation": HELD, "patience": 2},
    ),
    "patience, sampled": (
        lambda: GaussianMixture(2, 2),
        X,
        SVI(learning_rate=0.1, batch_size=10),
        {"max_passes": 30, "restarts": 2, "validation": Rows(HELD, np.arange(40.0)), "patience": 3},
    ),
    "rows that are drawn": (
        lambda: Mixture(Bernoulli(2, 4)),
        Drawn(),
        SVI(batch_size=20),
        {"max_passes": 4, "restarts": 3},
    ),
    "squarem": (lambda: GaussianMixture(3, 2), X, EM(accelerate="squarem"), {"max_passes": 12, "restarts": 2}),
    "squarem, generalized": (
        lambda: NegativeBinomialMixture(2, 2),
        COUNTS,
        EM(accelerate="squarem"),
        {"max_passes": 10},
    ),
    "online": (
        lambda: GaussianMixture(2, 2, prior="weak"),
        X,
        OnlineEM(batch_size=30),
        {"max_passes": 8, "weights": WEIGHTS, "labels": LABELS, "restarts": 2},
    ),
    "online, shuffled": (lambda: GaussianMixture(2, 2), shuffled(), OnlineEM(batch_size=20), {"max_passes": 5}),
    "shuffled": (lambda: GaussianMixture(2, 2), shuffled(), SVI(batch_size=20), {"max_passes": 5, "restarts": 2}),
    "shuffled, by em": (lambda: GaussianMixture(2, 2), shuffled(), EM(tol=0.0), {"max_passes": 5, "restarts": 2}),
}


def run(name, checkpoint=None):
    """Without a checkpoint restarts of EM would run side by side, and round in another way."""
    model, x, engine, options = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        if checkpoint is None and "restarts" in options:
            checkpoint = Path(folder) / "whole.ckpt"
        return fit(model(), x, engine, seed=1, checkpoint=checkpoint, **options)


@contextmanager
def killed_at(report, monkeypatch):
    """What is fitted within is interrupted where it reports a pass for the n-th time. Yields the passes reported."""
    seen = []

    @contextmanager
    def progress_bar(*_):
        def tell(restart, passes, bound, held_out):
            seen.append((restart, passes))
            if len(seen) == report:
                raise KeyboardInterrupt

        yield tell

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["lowerbound.inference.fitting.fit"], "progress_bar", progress_bar)
        yield seen


def require_same(a, b):
    assert bits(a.model) == bits(b.model)
    assert torch.equal(a.bounds, b.bounds)
    assert (a.held_out is None) == (b.held_out is None)
    assert a.held_out is None or torch.equal(a.held_out, b.held_out)
    for name in ("engine", "converged", "reason", "seed", "optima", "gradient_norm"):
        assert getattr(a, name) == getattr(b, name)
    assert getattr(a.model, "schema", None) == getattr(b.model, "schema", None)
    assert a.times.shape == b.times.shape


# the same bits


@pytest.mark.drawn(9)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_after_every_pass_ends_in_the_same_bits(name, tmp_path, monkeypatch):
    """Each process makes one pass that is saved and is killed in the next: no pass is made more than twice."""
    path = tmp_path / "run.ckpt"
    with killed_at(None, monkeypatch) as whole:
        expected = run(name)
    made, resumed, kills = [], None, 0
    while resumed is None:
        with killed_at(2, monkeypatch) as seen:
            try:
                resumed = run(name, path)
            except KeyboardInterrupt:
                kills += 1
            made.append(seen)
    require_same(resumed, expected)
    assert kills > 2
    assert [passes for seen in made for passes in seen[:1]] == whole[: len(made)]  # one pass further each time
    assert (resumed.times.diff() >= 0).all() and resumed.seconds >= resumed.times[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


@pytest.mark.parametrize("report", [1, 2, 5, 8, 11, 12])
@pytest.mark.parametrize("name", ["restarts", "collapses", "patience"])
def test_a_run_killed_anywhere_ends_in_the_same_bits(name, report, tmp_path, monkeypatch):
    expected = run(name)
    with killed_at(report, monkeypatch) as seen, pytest.raises(KeyboardInterrupt):
        run(name, tmp_path / "run.ckpt")
    with killed_at(None, monkeypatch) as rest:
        require_same(run(name, tmp_path / "run.ckpt"), expected)
    assert rest[0] == seen[-1]  # the pass in which it was killed is the first one made again


def test_a_run_killed_within_a_pass_ends_in_the_same_bits(tmp_path, monkeypatch):
    """After one of three optimizer steps: parameters, moments and random numbers have moved on."""
    expected = run("sampled in batches")
    step, count = torch.optim.Adam.step, iter(range(1000))

    def interrupted(self, *args):
        if next(count) == 7:
            raise KeyboardInterrupt
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("sampled in batches", tmp_path / "run.ckpt")
    torch.rand(9)
    require_same(run("sampled in batches", tmp_path / "run.ckpt"), expected)


def test_a_process_killed_while_it_writes_goes_on_in_another(tmp_path):
    """kill -9, between the seventh scratch file and its new name."""
    script = """
import os, signal, sys
from test_checkpoint import run
replace, count = os.replace, iter(range(100))
def killed(*paths):
    if next(count) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = killed
run("sampled in batches", sys.argv[1])
"""
    path = tmp_path / "run.ckpt"
    here = Path(__file__)
    folders = here.parent, Path(reference.__file__).parent, here.parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    ended = subprocess.run([sys.executable, "-c", script, path], env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with safe_open(path, framework="pt") as file:  # six passes in a restart: the first one has ended
        assert json.loads(file.metadata()["lowerbound"])["restart"] == 1
    require_same(run("sampled in batches", path), run("sampled in batches"))


@pytest.mark.parametrize("name", ["em that converges", "patience", "collapses"])
def test_a_finished_run_is_returned_at_once(name, tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    first = run(name, path)
    held = path.read_bytes()

    def none(*_):
        raise AssertionError("a pass was made")

    monkeypatch.setattr(EM, "passes", none)
    again = run(name, path)
    require_same(again, first)
    assert torch.equal(again.times, first.times) and again.seconds == first.seconds
    assert path.read_bytes() == held
    again.save(tmp_path / "fit")
    assert bits(load(tmp_path / "fit").model) == bits(first.model)


def test_names_of_columns_come_back(tmp_path, monkeypatch):
    table = pd.DataFrame(X, columns=["a", "b"])
    results = []
    for _ in range(3):
        with killed_at(3, monkeypatch):
            try:
                results.append(fit(GaussianMixture(2, 2), table, EM(), max_passes=4, checkpoint=tmp_path / "c"))
            except KeyboardInterrupt:
                results.append(None)
    assert results[0] is None and list(results[1].model.schema.columns) == ["a", "b"]
    require_same(results[1], results[2])


def test_the_random_state_is_left_as_it_was(tmp_path, monkeypatch):
    before = torch.get_rng_state()
    for _ in range(3):
        with killed_at(3, monkeypatch), suppress(KeyboardInterrupt):
            run("sampled in batches", tmp_path / "run.ckpt")
        assert torch.equal(torch.get_rng_state(), before)


def test_a_run_of_collapses_alone_says_so_each_time(tmp_path):
    x = np.concatenate([np.random.default_rng(0).standard_normal((40, 2)), np.full((10, 2), 8.0)])
    said = []
    for path in (None, tmp_path / "c", tmp_path / "c"):
        with pytest.raises(Collapse) as caught:
            fit(GaussianMixture(2, 2), x, EM(), restarts=3, checkpoint=path)
        said.append((str(caught.value), caught.value.component))
    assert said[0] == said[1] == said[2]


def test_restarts_that_collapse_where_they_begin_are_counted_once(tmp_path, monkeypatch):
    """The first of three cannot even begin: what is resumed must not trip over it again."""
    initialize = Mixture.initialize

    def collapsing(self, x, weights, generator, redraw=True):
        if not redraw:
            raise Collapse("component 0 has collapsed", 0)
        initialize(self, x, weights, generator, redraw)

    monkeypatch.setattr(Mixture, "initialize", collapsing)
    expected = run("restarts")
    assert expected.optima[-1].collapsed and sum(o.count for o in expected.optima) == 3
    with killed_at(6, monkeypatch), pytest.raises(KeyboardInterrupt):
        run("restarts", tmp_path / "run.ckpt")
    require_same(run("restarts", tmp_path / "run.ckpt"), expected)
