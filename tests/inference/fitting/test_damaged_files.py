"""Damaged and hostile files: the same fit or run as was written, or one sentence, in little time and memory."""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from reference import bits
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[3]))  # benchmarks are not installed: they live in the checkout
from benchmarks import mutations
from lowerbound import datasets
from lowerbound.inference import EM, SVI, OnlineEM, fit, load
from lowerbound.inference.fitting import file_format
from lowerbound.inference.fitting.rebuild import room
from lowerbound.models import VAE, FamilyOf, Gaussian, GaussianDecoder, GaussianMixture, Mixture, MLPEncoder, Product

X = datasets.load("faithful")[:40].to_numpy()
PER_NUMBER = 8  # bytes
pytestmark = pytest.mark.usefixtures("as_users_run_it")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "a.fit"
    fit(GaussianMixture(2, 2), X, EM(), max_passes=4).save(path)
    return path.read_bytes()


@pytest.fixture
def path(written, tmp_path):
    (tmp_path / "a.fit").write_bytes(written)
    return tmp_path / "a.fit"


def parts(path):
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["lowerbound"])
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def without_digest(path, change):
    """The file as the first version would have written it, with another content."""
    header, tensors = parts(path)
    header["format"] = 1
    changed = change(header, tensors)
    text = changed if isinstance(changed, str) else json.dumps(header)
    save_file(tensors, path, metadata={"lowerbound": text})


def refused(path, words, read=load):
    """In one sentence, in little time."""
    began, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=words) as caught:
        read(path)
    assert time.perf_counter() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200 * 1024  # KiB
    assert type(caught.value).__module__.startswith("lowerbound") and "\n" not in str(caught.value)
    assert path.name in str(caught.value) and len(str(caught.value)) < 600
    return True


def test_each_flipped_bit_of_a_number_is_refused(path, written):
    _, tensors = parts(path)
    numbers = sum(tensor.numel() for tensor in tensors.values())
    rng = np.random.default_rng(0)
    for at in rng.integers(len(written) - PER_NUMBER * numbers, len(written), 60):
        content = bytearray(written)
        content[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert refused(path, r"a\.fit is damaged: its digest is not that of its content|a\.fit is not a saved fit")


def test_the_digest_covers_the_header(path, written):
    """And a file does not pass for one without a digest when the name of that is damaged."""
    for old, new in (
        (b'\\"seed\\": 0', b'\\"seed\\": 7'),
        (b"em", b"EM"),
        (b'"digest"', b'"digesT"'),
        (b'\\"format\\": 2', b'\\"format\\": 1'),
        (b'\\"format\\": 2', b'\\"format\\": 3'),
        (b'\\"kind\\": \\"fit', b'\\"kind\\": \\"git'),
        (b'\\"kind', b'\\"kinD'),
    ):
        assert written.count(old)
        path.write_bytes(written.replace(old, new))
        assert refused(path, r"a\.fit is damaged: its digest")


def test_only_files_of_the_first_format_have_no_digest(path):
    """And a digest that is there covers the format: a newer one is believed."""
    without_digest(path, lambda header, tensors: None)
    assert load(path).converged is False
    for format_, kind in ((2, "fit"), (3, "fit"), (1, "git")):
        without_digest(path, lambda header, tensors, f=format_, k=kind: header.update(format=f, kind=k))
        assert refused(path, r"a\.fit is damaged: its digest")
    header, tensors = parts(path)
    text = json.dumps(header | {"format": 3})
    save_file(tensors, path, metadata={"lowerbound": text, "digest": file_format._digest(text, tensors)})
    assert refused(path, r"a\.fit has format 3, this version of lowerbound reads up to 2: upgrade lowerbound")


NUMBERS = {  # of a file without a digest
    "nan": (lambda t: t["model.family.loc_unconstrained"].fill_(torch.nan), "its family.loc_unconstrained holds NaN"),
    "infinite": (lambda t: t["model.weights_unconstrained"].fill_(torch.inf), "weights.* got"),
    "no bounds": (lambda t: t["bounds"].resize_(0), "its bounds are not finite"),
    "nan among bounds": (lambda t: t["bounds"].fill_(torch.nan), "its bounds are not finite"),
    "integers": (
        lambda t: t.update({"model.family.loc_unconstrained": torch.zeros(2, 2, dtype=torch.int64)}),
        "as torch.int64, expected",
    ),
}


@pytest.mark.parametrize(("change", "words"), NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers_without_a_digest_are_checked_as_if_set_by_hand(path, change, words):
    without_digest(path, lambda header, tensors: change(tensors))
    assert refused(path, words)


def deep(n):
    """A model description nested n times."""
    return f'{{"format": 1, "kind": "fit", "model": {"[" * n}{"]" * n}}}'


def call(name, *positional, **named):
    return {"class": name, "positional": list(positional), "named": named}


HEADERS = {  # the description of a model
    "a function of Pyro": {"distribution": "enable_validation", "settings": {"is_validate": False}},
    "a module of Pyro": {"distribution": "torch", "settings": {}},
    "a distribution that takes functions": {"distribution": "MaskedDistribution", "settings": {"base_dist": 1}},
    "a function of ours": call("check_family", 1),
    "a function that fits": call("seed", 1, 2),
    "a dataset": call("Binarized", [[0.0]]),
    "a class of the table": call("Rows", [[0.0]]),
    "a guide that is none": call("BayesianMixture", call("Poisson", 2, 1), guide={"guide": "torch"}),
    "8 GB of numbers": call("Mixture", call("Gaussian", 1_000_000_000, 2)),
    "8 GB of columns": call("Mixture", call("Gaussian", 2, 1_000_000_000)),
    "8 GB by their product": call("Mixture", call("Gaussian", 40, 40, "full"), None),
    "a list of large layers": call("VAE", call("MLPEncoder", 2, 1, [50_000] * 50), call("GaussianDecoder", 1, 2), 1),
    "many draws": call("BayesianMixture", call("Poisson", 2, 1), guide=call("PosteriorDraws", 10**6, 10**6)),
    "a product of large parts": call("Mixture", call("Product", *[call("Poisson", 10**9, 1)] * 9)),
    "sizes below zero": call("Mixture", call("Gaussian", -1, 2)),
    "no arguments": call("Mixture"),
    "arguments that are none": {"class": "Mixture", "positional": 3, "named": None},
    "a type that is none": {"tensor": [1.0], "dtype": "load"},
    "a class that is no name": {"class": ["Mixture"], "positional": [], "named": {}},
    "another model": call("KMeans", 2, 2),
    "a number": 3,
    "nothing": None,
}


@pytest.mark.parametrize("model", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_calls_nothing_but_models_and_makes_nothing_large(path, model):
    before = torch.distributions.Distribution._validate_args
    without_digest(path, lambda header, tensors: header.update(model=model))
    assert refused(path, r"a\.fit")
    assert torch.distributions.Distribution._validate_args == before


def test_what_is_made_is_limited_by_the_file(path):
    """A size that is no more than the numbers of the file may be squared: 6000 small ones would make 576 MB."""

    def change(header, tensors):
        header["model"] = call("Mixture", call("Gaussian", 2, 6000))
        tensors["model.pad"] = torch.zeros(6000, dtype=torch.uint8)

    without_digest(path, change)
    assert refused(path, "its model is much larger than the numbers in the file")
    assert room(6000) < 4e6


@pytest.mark.parametrize(
    "text", [deep(300), deep(100_000), "[" * 100_000, f"[{'[],' * 2_000_000}[]]", "7", '"a"', "{}"]
)
def test_a_header_of_many_parts_or_levels_is_refused(path, text):
    without_digest(path, lambda header, tensors: text)
    assert refused(path, r"a\.fit is not a saved fit")
    assert refused(
        path, r"a\.fit is not a checkpoint", lambda path: fit(GaussianMixture(2, 2), X, EM(), checkpoint=path)
    )


@pytest.mark.parametrize(
    "field", ["converged", "reason", "seconds", "seed", "gradient_norm", "engine", "optima", "frozen"]
)
@pytest.mark.parametrize("value", [7j, "x", [], {}, -1.5, [{}], {"class": "EM", "settings": {"tol": "x"}}])
def test_fields_of_another_kind_are_refused_or_harmless(path, field, value):
    value = None if value == 7j else value
    without_digest(path, lambda header, tensors: header.update({field: value}))
    try:
        repr(load(path))
    except ValueError as error:
        assert "a.fit is damaged" in str(error) and "\n" not in str(error)


def test_large_models_of_every_kind_are_made(tmp_path):
    """The limits on what a file may ask for are far from what was saved."""
    encoder, decoder = MLPEncoder(2, 1, (100, 100), "full"), GaussianDecoder(1, 2, (100,), "shared")
    models = [
        (GaussianMixture(60, 20, "tied"), EM()),
        (GaussianMixture(90, 20, "tied"), EM()),
        (Mixture(Product(Gaussian(30, 15), FamilyOf(dist.Laplace, 30, 5))), EM()),
        (VAE(encoder, decoder, 1), SVI("analytic")),
    ]
    rng = np.random.default_rng(0)
    for model, engine in models:
        x = rng.normal(size=(100, 2 if isinstance(model, VAE) else 20))
        saved = fit(model, x, engine, max_passes=1)
        saved.save(tmp_path / "large")
        assert bits(load(tmp_path / "large").model) == bits(saved.model)


# checkpoints


def run(path, engine=None):
    return fit(GaussianMixture(2, 2), X, engine or EM(tol=0), restarts=2, max_passes=4, checkpoint=path)


ENGINES = [EM(tol=0), EM(tol=0, accelerate="squarem"), OnlineEM(batch_size=20), SVI("exact")]


def without(parts, name):
    del parts[name]


@pytest.mark.parametrize("engine", ENGINES, ids=repr)
def test_a_checkpoint_without_one_of_its_parts_is_refused(engine, tmp_path):
    """In its second restart: each tensor and each field of the header is missing, or of another kind or shape."""
    path = tmp_path / "run.ckpt"
    mutations.interrupted(lambda: run(path, engine), writes=6)
    content, (header, tensors) = path.read_bytes(), parts(path)
    assert "under_way" in header and "winner" in header
    changes = [lambda h, t, n=n: without(t, n) for n in tensors]
    changes += [lambda h, t, n=n: t.update({n: torch.zeros(3, 5)}) for n in tensors]
    if isinstance(engine, EM):
        for field in sorted(set(header) - {"format", "kind"}):
            changes += [lambda h, t, f=field: without(h, f), lambda h, t, f=field: h.update({f: {"a": 1}})]
        changes += [
            lambda h, t: t.update({"random.abacus:0": t["random.torch"].clone()}),
            lambda h, t: h.update(restart=-1),
        ]
        changes += [lambda h, t: t.update({"random.torch": torch.full_like(t["random.torch"], 255)})]
    harmless = []
    for number, change in enumerate(changes):
        path.write_bytes(content)
        without_digest(path, change)
        held = path.read_bytes()
        try:
            run(path, engine)
            harmless.append([*tensors, *tensors, "field"][number : number + 1])
        except ValueError as error:
            assert "run.ckpt" in str(error) and "\n" not in str(error), error
            assert path.read_bytes() == held
    assert len(harmless) <= 6, harmless


def test_mutations_of_all_kinds_of_files():
    """A sample of benchmarks/mutations.py; all 100,000 with ALL_CASES=1."""
    if os.environ.get("ALL_CASES"):
        assert mutations.main(mutations.COUNT) == 0
        return
    done = mutations.run_batch(0, 400)
    assert done["wrong"] == []
    assert done["mib"] < mutations.MOST_MIB and done["slowest"] < mutations.MOST_SECONDS
    assert sum(done["found"].values()) == 400 and len(done["found"]) >= 6
