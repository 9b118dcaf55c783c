"""Checkpoints: a run that was killed ends in the same bits as one that was not, and no other file is ever touched."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import reference
import torch
from reference import bits, data, repeated
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from lowerbound.inference import EM, SVI, OnlineEM, fit, load
from lowerbound.models import (
    PPCA,
    VAE,
    Bernoulli,
    BernoulliDecoder,
    Collapse,
    GaussianDecoder,
    GaussianMixture,
    KMeans,
    Mixture,
    MLPEncoder,
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


# another run

CHANGES = {
    "seed": ({"seed": 1}, "seed 0, this run has seed 1"),
    "restarts": ({"restarts": 3}, "restarts 2, this run has restarts 3"),
    "max_passes": ({"max_passes": 6}, "max_passes 5, this run has max_passes 6"),
    "patience": ({"patience": 5}, "patience 9, this run has patience 5"),
    "no patience": ({"patience": None}, "patience 9, this run has patience None"),
    "tol": (
        {"engine": EM(1e-3)},
        r"engine EM\(tol=1e-09, .*\), this run has engine EM\(tol=0\.001, .*\)",
    ),
    "engine": (
        {"engine": SVI()},
        r"engine EM\(tol=1e-09, accelerate=None, dtype='float64'\), this run has engine SVI\(elbo='sampled', .*\)",
    ),
    "components": ({"model": GaussianMixture(3, 2)}, r"model .*2.*, this run has model .*3"),
    "structure": ({"model": GaussianMixture(2, 2, "diag")}, r"model .*, this run has model .*diag"),
    "prior": ({"model": GaussianMixture(2, 2, prior="weak")}, r"model .*, this run has model .*weak"),
    "family": ({"model": StudentTMixture(2, 2)}, r"model .*, this run has model .*StudentT"),
    "fewer rows": ({"x": X[:50]}, "rows 90, this run has rows 50"),
    "other rows": ({"x": X + 1e-9}, "digest of the data .*, this run has digest of the data"),
    "order of rows": ({"x": X[::-1]}, "digest of the data .*, this run has digest of the data"),
    "weights of the same sum": ({"weights": np.where(np.arange(90) % 2, 0.5, 1.5)}, "digest of the data"),
    "weights": ({"weights": WEIGHTS}, f"total weight 90, this run has total weight {WEIGHTS.sum():g}"),
    "labels": ({"labels": LABELS}, "digest of the data"),
    "validation": ({"validation": HELD[:9]}, "rows of the validation 40, this run has rows of the validation 9"),
    "other validation": ({"validation": HELD + 1}, "digest of the data of the validation"),
    "a dataset": (
        {"x": Subset(TensorDataset(torch.tensor(X)), range(len(X)))},
        "digest of the data .*, this run has digest of the data none",
    ),
}


def changed(path, engine=None, model=None, x=X, **change):
    options = {"restarts": 2, "max_passes": 5, "validation": HELD, "patience": 9, **change}
    return fit(model or GaussianMixture(2, 2), x, engine or EM(), checkpoint=path, **options)


@pytest.fixture(scope="module")
def of_another(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "run.ckpt"
    changed(path)
    return path.read_bytes()


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES.keys())
def test_another_run_is_refused_and_the_file_left_alone(change, words, of_another, tmp_path):
    path = tmp_path / "run.ckpt"
    path.write_bytes(of_another)
    says = rf"the checkpoint .*run\.ckpt is of {words}.*: choose another file, or delete it"
    with pytest.raises(ValueError, match=says) as caught:
        changed(path, **change)
    assert len(str(caught.value)) < 500
    assert path.read_bytes() == of_another
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]
    changed(path)  # which that run can still be


def test_models_that_print_alike_are_told_apart(tmp_path):
    """repr shortens tensors; the comparison does not."""
    one, other = (StudentTMixture(2, 2, dof=torch.tensor([4.0, d]).double()) for d in (5.000001, 5.000002))
    fit(one, X, EM(), max_passes=2, checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="is of another model than that of this run, though both print as Mixture"):
        fit(other, X, EM(), max_passes=2, checkpoint=tmp_path / "c")


# another file


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_checkpoint_cut_short_is_refused(keep, of_another, tmp_path):
    path = tmp_path / "run.ckpt"
    path.write_bytes(of_another[: int(keep * len(of_another))])
    held = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.ckpt is not a checkpoint, or was cut short"):
        changed(path)
    assert path.read_bytes() == held


def saved_fit(path):
    fit(GaussianMixture(2, 2), X, EM(), max_passes=2).save(path)


def rewritten(change):
    def write(path):
        changed(path)
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["lowerbound"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        change(header)
        save_file(tensors, path, metadata={"lowerbound": json.dumps(header)})

    return write


FILES = {
    "a saved fit": (saved_fit, "is a saved fit, not a checkpoint: choose another file"),
    "a table": (lambda path: path.write_text("a,b\n1,2\n"), "is not a checkpoint, or was cut short"),
    "a pickle": (lambda path: torch.save({"a": torch.zeros(2)}, path), "is not a checkpoint, or was cut short"),
    "safetensors": (lambda path: save_file({"a": torch.zeros(2)}, path), "is not a checkpoint, or was cut short"),
    "a newer format": (rewritten(lambda header: header.update(format=2)), "has format 2, .* upgrade lowerbound"),
    "no description": (rewritten(lambda header: header.pop("run")), "is damaged .*choose another file"),
}


@pytest.mark.parametrize(("make", "words"), FILES.values(), ids=FILES.keys())
def test_another_file_is_refused_and_left_alone(make, words, tmp_path):
    path = tmp_path / "run.ckpt"
    make(path)
    held = path.read_bytes()
    with pytest.raises(ValueError, match=rf"run\.ckpt {words}"):
        changed(path)
    assert path.read_bytes() == held


def test_load_says_what_to_do_with_a_checkpoint(of_another, tmp_path):
    (tmp_path / "run.ckpt").write_bytes(of_another)
    with pytest.raises(ValueError, match=r"run\.ckpt is a checkpoint, not a saved fit: go on with its run by fit\("):
        load(tmp_path / "run.ckpt")


class Unread(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, i):
        raise AssertionError("a row was read")


def test_a_folder_that_is_missing_is_named_before_any_work(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write .*c: there is no folder .*nowhere"):
        fit(GaussianMixture(2, 2), Unread(), EM(), checkpoint=tmp_path / "nowhere" / "c")
    with pytest.raises(IsADirectoryError, match="a folder, expected the name of a file"):
        fit(GaussianMixture(2, 2), Unread(), EM(), checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    expected = run("restarts")
    with killed_at(4, monkeypatch), pytest.raises(KeyboardInterrupt):
        run("restarts", path)
    held = path.read_bytes()

    def full(*_, **__):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lowerbound.inference.fitting.file_format.save_file", full)
        with pytest.raises(OSError, match="no space left"):
            run("restarts", path)
    assert path.read_bytes() == held
    require_same(run("restarts", path), expected)


def test_there_is_no_pickle_inside(of_another):
    assert b'"kind\\": \\"checkpoint' in of_another[:100_000]
    for name in (b"pickle", b"torch.", b"builtins"):
        assert name not in of_another.replace(b"torch.float", b"").replace(b"torch.bool", b"")  # the kinds of numbers


# engines of one's own


@dataclass(frozen=True)
class Plain:
    """An engine as simple as they come."""

    def passes(self, model, rows, max_passes, generator):
        while True:
            statistics = model.expect(next(rows.chunks()).x)
            yield statistics.bound / len(rows)
            model.maximize(statistics)

    def stop(self, bounds, max_passes):
        return None


def test_an_engine_that_is_a_generator_works_without_a_checkpoint(tmp_path):
    result = fit(GaussianMixture(2, 2), X, Plain(), max_passes=4, validation=HELD)
    expected = fit(GaussianMixture(2, 2), X, EM(tol=0), max_passes=4, validation=HELD)
    torch.testing.assert_close(result.bounds, expected.bounds, rtol=1e-13, atol=0)
    assert torch.equal(result.held_out, expected.held_out)
    with pytest.raises(TypeError, match=r"Plain\.passes returns a generator, expected .*state_dict.*leave checkpoint"):
        fit(GaussianMixture(2, 2), X, Plain(), max_passes=4, checkpoint=tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


STEPS = {
    "em": (EM(), lambda: GaussianMixture(2, 2), X),
    "generalized": (EM(), lambda: NegativeBinomialMixture(2, 2), COUNTS),
    "squarem": (EM(accelerate="squarem"), lambda: GaussianMixture(2, 2), X),
    "squarem, generalized": (EM(accelerate="squarem"), lambda: NegativeBinomialMixture(2, 2), COUNTS),
    "online": (OnlineEM(batch_size=40), lambda: GaussianMixture(2, 2), X),
    "svi": (SVI(batch_size=40), lambda: GaussianMixture(2, 2), X),
}


@pytest.mark.parametrize(("engine", "new", "x"), STEPS.values(), ids=STEPS.keys())
def test_an_engine_goes_on_from_its_state(engine, new, x, monkeypatch):
    """The protocol itself, without `fit`; and in as many E-steps, which the last gain decides on."""
    rows, generator = Rows(x), torch.Generator().manual_seed(0)
    model = new()
    model.initialize(rows, None, generator)
    steps = engine.passes(model, rows, 20, generator)
    assert iter(steps) is steps
    torch.manual_seed(0)
    first = [float(next(steps)) for _ in range(12)]
    stored = {name: t.clone() for name, t in model.state_dict().items()}
    state = {name: t.clone() for name, t in steps.state_dict().items()}
    drawn, own = torch.get_rng_state(), generator.get_state()

    counted, expect = [], Mixture.expect
    monkeypatch.setattr(Mixture, "expect", lambda *args: (counted.append(1), expect(*args))[1])
    rest = [float(next(steps)) for _ in range(3)]
    before = len(counted)

    other = new()
    other.load_state_dict(stored)
    again = engine.passes(other, rows, 20, generator)
    again.load_state_dict(state)
    torch.set_rng_state(drawn)
    generator.set_state(own)
    counted.clear()
    assert [float(next(again)) for _ in range(3)] == rest != first[-3:]
    assert bits(other) == bits(model)
    assert len(counted) == before


# models with a continuous latent

NETWORKS = {
    "warm-up, rows drawn anew": (
        lambda: VAE(MLPEncoder(4, 2, (5,)), BernoulliDecoder(2, 4, (5,)), 2),
        Drawn(),
        SVI("analytic", batch_size=20, warm_up=4),
        {"max_passes": 6},
    ),
    "importance, patience": (
        lambda: VAE(MLPEncoder(2, 1, (5,)), GaussianDecoder(1, 2, (5,), "shared"), 1),
        X,
        SVI("importance", batch_size=20, particles=3),
        {"max_passes": 8, "validation": HELD, "patience": 3, "restarts": 2},
    ),
}


@pytest.mark.parametrize(("make", "x", "engine", "settings"), NETWORKS.values(), ids=NETWORKS.keys())
def test_a_vae_that_was_killed_ends_in_the_same_bits(tmp_path, monkeypatch, make, x, engine, settings):
    whole = fit(make(), x, engine, **settings)
    module = sys.modules["lowerbound.inference.fitting.checkpoint"]
    real, written = module.write, []

    def dies(*arguments):
        real(*arguments)
        written.append(1)
        if len(written) in (2, 5):
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "write", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(make(), x, engine, checkpoint=tmp_path / "run.ckpt", **settings)
    resumed = fit(make(), x, engine, checkpoint=tmp_path / "run.ckpt", **settings)
    assert torch.equal(resumed.bounds, whole.bounds)
    for a, b in zip(resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_another_start_or_another_module_is_another_run(tmp_path):
    path = tmp_path / "run.ckpt"
    fit(PPCA.closed_form(X, 1), X, SVI("exact"), max_passes=2, checkpoint=path)
    before = path.read_bytes()
    other = PPCA.closed_form(X, 1)
    other.scale = 3.0
    with pytest.raises(ValueError, match=r"the checkpoint .* is of start .*: choose another file, or delete it"):
        fit(other, X, SVI("exact"), max_passes=2, checkpoint=path)
    assert path.read_bytes() == before

    class Mine(torch.nn.Module):
        def __init__(self, activation):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(1, 5), activation, torch.nn.Linear(5, 2))

        def forward(self, z):
            return dist.Normal(self.layers(z), 1.0).to_event(1)

    path = tmp_path / "mine.ckpt"
    models = [VAE(MLPEncoder(2, 1, (5,)), Mine(kind), 1) for kind in (torch.nn.Tanh(), torch.nn.ReLU())]
    fit(models[0], X, SVI("analytic"), max_passes=2, checkpoint=path)
    with pytest.raises(ValueError, match=r"the checkpoint .* is of modules"):
        fit(models[1], X, SVI("analytic"), max_passes=2, checkpoint=path)


def test_rows_that_differ_far_down_are_another_table(tmp_path):
    x = np.random.default_rng(0).standard_normal((9000, 2))
    fit(PPCA(2, 1), x, EM(), max_passes=2, checkpoint=tmp_path / "run.ckpt")
    x[8999, 1] += 1
    with pytest.raises(ValueError, match="digest of the data"):
        fit(PPCA(2, 1), x, EM(), max_passes=2, checkpoint=tmp_path / "run.ckpt")
