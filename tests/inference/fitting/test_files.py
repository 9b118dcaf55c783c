"""Saved fits: the same bits back, or one sentence, and never half a file."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import torch
from reference import COVARIANCES, PRIORS, bits, data, full_disk, new_mixture
from safetensors.torch import save_file

from lowerbound.inference import EM, SVI, compare, fit, load
from lowerbound.inference.fitting import file_format
from lowerbound.models import Gaussian, GaussianMixture, Mixture

X = data(n=60, d=3)


@pytest.mark.parametrize("concentration", [None, 2.0])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_what_was_saved_comes_back_to_the_same_bits(covariance, prior, concentration, tmp_path):
    saved = fit(new_mixture(covariance, 2, 3, prior, concentration), X, EM(tol=1e-9), restarts=2, max_passes=9, seed=3)
    path = tmp_path / "a.fit"
    saved.save(path)
    for back in (load(path), load(str(path)), load(path, into=new_mixture(covariance, 2, 3, prior, concentration))):
        assert bits(back.model) == bits(saved.model)
        for name in ("bounds", "times"):
            assert torch.equal(getattr(back, name), getattr(saved, name))
        for name in ("engine", "converged", "reason", "seconds", "seed", "optima", "gradient_norm"):
            assert getattr(back, name) == getattr(saved, name)
        assert torch.equal(back.model.bound(X), saved.model.bound(X))
        assert back.model.global_term() == saved.model.global_term()
        # and it goes on where it stopped: the origins are saved, too
        again, onward = (fit(f.model, X, EM(), max_passes=3).bounds for f in (back, saved))
        assert torch.equal(again, onward)
        assert compare(X, a=saved, b=back).pairs().parameter_distance[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a.fit"]


@pytest.mark.parametrize("engine", [SVI("sampled", 0.1, 20, 2, 0.5, 0.0), SVI("exact"), EM(0.0)], ids=repr)
def test_engines_come_back(engine, tmp_path):
    saved = fit(Mixture(Gaussian(2, features=3, prior="weak"), concentration=1.5), X, engine, max_passes=3)
    saved.save(tmp_path / "a")
    back = load(tmp_path / "a")
    assert back.engine == engine
    assert back.model.concentration == 1.5
    assert bits(back.model) == bits(saved.model)


def test_collapsed_optima_come_back(tmp_path):
    from test_fit import repeated

    saved = fit(GaussianMixture(4, 2), repeated(), EM(), restarts=12)
    assert saved.optima[-1].collapsed
    saved.save(tmp_path / "a")
    assert load(tmp_path / "a").optima == saved.optima


@pytest.fixture
def path(tmp_path):
    fit(GaussianMixture(2, 3), X, EM(), max_passes=3).save(tmp_path / "a.fit")
    return tmp_path / "a.fit"


def test_there_is_no_pickle_inside(path):
    """safetensors: eight bytes of length, a JSON header, raw numbers."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert json.loads(header["__metadata__"]["lowerbound"])["format"] == 2


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match=r"a\.fit .*cut short.*expected a file written by Fit\.save"):
        load(path)


@pytest.mark.parametrize("content", [b"eruptions,waiting\n3.6,79\n", b"\x80\x04K\x01.", b"\x00" * 100, b"{}"])
def test_a_file_that_is_no_fit_is_refused(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.csv is not a saved fit"):
        load(tmp_path / "x.csv")


def rewrite(path, change):
    """The same tensors with another header."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["lowerbound"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    text = json.dumps(header)
    save_file(tensors, path, metadata={"lowerbound": text, "digest": file_format._digest(text, tensors)})


def test_a_newer_format_says_so(path):
    rewrite(path, lambda header, tensors: header.update(format=3))
    with pytest.raises(ValueError, match=r"has format 3, .* reads up to 2: upgrade lowerbound"):
        load(path)


def test_another_programs_safetensors_are_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"b\.safetensors is not a saved fit"):
        load(tmp_path / "b.safetensors")


DAMAGES = {
    "no format": lambda header, tensors: header.pop("format"),
    "no model": lambda header, tensors: header.pop("model"),
    "no bounds": lambda header, tensors: tensors.pop("bounds"),
    "no reason": lambda header, tensors: header.pop("reason"),
    "unknown engine": lambda header, tensors: header["engine"].update({"class": "Alchemy"}),
    "unknown setting": lambda header, tensors: header["engine"]["settings"].update(spell=1),
    "no optima": lambda header, tensors: header.pop("optima"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_header_is_one_sentence(path, damage):
    rewrite(path, damage)
    with pytest.raises(ValueError, match=r"a\.fit"):
        load(path)


def test_parameters_of_the_wrong_shape_are_refused(path):
    for wrong in (GaussianMixture(3, 3), GaussianMixture(2, 3, "diag"), GaussianMixture(2, 3, prior="weak")):
        before = bits(wrong)
        with pytest.raises(
            ValueError,
            match=r"a\.fit (holds (family\.)?(loc|weights|scale\w*) of shape .*, expected .*: it is a fit of another"
            r"|is a fit of a model with other settings, expected)",
        ):
            load(path, into=wrong)
        assert bits(wrong) == before

    def drop(header, tensors):
        tensors.pop("model.weights_unconstrained")

    rewrite(path, drop)
    with pytest.raises(ValueError, match="holds weights of shape None, expected"):
        load(path)


def test_into_is_not_written_to(path):
    model = GaussianMixture(2, 3)
    before = bits(model)
    back = load(path, into=model)
    assert bits(model) == before
    assert not model.family.is_set
    assert back.model.family.is_set


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.fit"):
        load(tmp_path / "nowhere.fit")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path)


def test_a_failed_save_leaves_what_was_there(path, monkeypatch):
    held = path.read_bytes()
    result = load(path)

    monkeypatch.setattr("lowerbound.data.write_files.os.fsync", full_disk)
    with pytest.raises(OSError, match=r"^cannot write .*a\.fit: No space left on device$"):
        result.save(path)
    assert path.read_bytes() == held
    assert [p.name for p in path.parent.iterdir()] == ["a.fit"]


class Alchemy:
    """An engine of a user's own, which is no dataclass."""


@dataclasses.dataclass(frozen=True)
class Distillation:
    heat: torch.Tensor


def test_models_and_engines_of_a_users_own(path, as_users_run_it):
    """A model without a state is refused in one sentence; an engine is told by its class and what it can tell."""
    saved, held = load(path), path.read_bytes()
    with pytest.raises(TypeError, match=r"object has no state_dict\(\) .* for Fit\.save: .*torch\.nn\.Module$"):
        dataclasses.replace(saved, model=object()).save(path)
    assert path.read_bytes() == held
    for engine, settings in (
        (Alchemy(), {}),
        (Distillation(torch.ones(2)), {"heat": {"tensor": [1.0, 1.0], "dtype": "float32"}}),
    ):
        dataclasses.replace(saved, engine=engine).save(path)
        assert load(path).engine == {"class": type(engine).__name__, "settings": settings}


def test_a_folder_that_is_not_there_is_named(path, tmp_path):
    result = load(path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        result.save(tmp_path / "nowhere" / "a.fit")
    with pytest.raises(OSError):
        result.save(tmp_path)  # a folder, not a file
    assert [p.name for p in tmp_path.iterdir()] == ["a.fit"]


def test_a_seed_from_numpy_is_saved_too(as_users_run_it, faithful, tmp_path):
    fit(GaussianMixture(np.int64(2), 2), faithful, EM(), max_passes=2, seed=np.int64(3)).save(tmp_path / "fit")
    assert load(tmp_path / "fit").seed == 3
