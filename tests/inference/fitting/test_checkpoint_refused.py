"""Checkpoints of another run, files of another kind, and engines and models of a user's own."""

import json
import sys
from dataclasses import dataclass

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from reference import bits, full_disk
from safetensors import safe_open
from safetensors.torch import save_file
from test_checkpoint import COUNTS, HELD, LABELS, WEIGHTS, Drawn, X, killed_at, require_same, run
from torch.utils.data import Dataset, Subset, TensorDataset

from lowerbound.inference import EM, SVI, OnlineEM, fit, load
from lowerbound.inference.fitting import file_format
from lowerbound.models import (
    PPCA,
    VAE,
    BernoulliDecoder,
    GaussianDecoder,
    GaussianMixture,
    Mixture,
    MLPEncoder,
    NegativeBinomialMixture,
    Rows,
    StudentTMixture,
)

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
        r"engine EM\(tol=1e-09, accelerate='auto', dtype='float64'\), this run has engine SVI\(elbo='sampled', .*\)",
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
        text = json.dumps(header)
        save_file(tensors, path, metadata={"lowerbound": text, "digest": file_format._digest(text, tensors)})

    return write


FILES = {
    "a saved fit": (saved_fit, "is a saved fit, not a checkpoint: choose another file"),
    "a table": (lambda path: path.write_text("a,b\n1,2\n"), "is not a checkpoint, or was cut short"),
    "a pickle": (lambda path: torch.save({"a": torch.zeros(2)}, path), "is not a checkpoint, or was cut short"),
    "safetensors": (lambda path: save_file({"a": torch.zeros(2)}, path), "is not a checkpoint, or was cut short"),
    "a newer format": (rewritten(lambda header: header.update(format=3)), "has format 3, .* upgrade lowerbound"),
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
    with pytest.raises(ValueError, match=r"run\.ckpt is a checkpoint, not a saved fit: resume its run by fit\("):
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

    with monkeypatch.context() as patch:
        patch.setattr("lowerbound.data.write_files.os.fsync", full_disk)
        with pytest.raises(OSError, match=r"^cannot write .*run\.ckpt: No space left on device$"):
            run("restarts", path)
    assert path.read_bytes() == held
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]
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
