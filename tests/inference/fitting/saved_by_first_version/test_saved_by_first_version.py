"""Files that the first version of the package wrote can still be read: two saved fits and a checkpoint under way.

They were written by

    fit(GaussianMixture(2, 2, prior="weak"), load("faithful"), EM(), restarts=3).save("gaussian_mixture.safetensors")
    fit(BayesianMixture(Categorical(2, [2] * 7)), load("carcinoma"), EM()).save("bayesian_classes.safetensors")
    fit(GaussianMixture(2, 2), load("faithful"), EM(), checkpoint="under_way.ckpt")  # interrupted after 4 passes

and must never be written anew: when the format of files changes, the reader has to understand both.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lowerbound import inference
from lowerbound.datasets import load
from lowerbound.inference import EM, fit
from lowerbound.models import GaussianMixture

HERE = Path(__file__).parent
SAVED = {  # the table it was fitted to, its last bound in nats per row, and the sum of the bounds of all rows
    "gaussian_mixture": ("faithful", "-0x1.104642b100e97p+2", "-0x1.1aa09662dd605p+10"),
    "bayesian_classes": ("carcinoma", "-0x1.85b932ff45f7cp+1", "-0x1.4743672f9af5ep+8"),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_fit_is_read(name):
    table, bound, total = SAVED[name]
    fitted = inference.load(HERE / f"{name}.safetensors")
    assert float(fitted.bounds[-1]).hex() == bound
    assert float(fitted.model.bound(load(table)).sum()) == pytest.approx(float.fromhex(total), rel=1e-12)
    assert fitted.converged and fitted.engine == EM()


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    checkpoint = shutil.copy(HERE / "under_way.ckpt", tmp_path)
    fitted = fit(GaussianMixture(2, 2), load("faithful"), EM(), checkpoint=checkpoint)
    assert len(fitted.bounds) == 10
    assert float(fitted.bounds[-1]) == pytest.approx(float.fromhex("-0x1.09f1c835e92a9p+2"), rel=1e-12)
    passes_before = load_file(HERE / "under_way.ckpt")["under_way.times"]
    assert len(passes_before) == 4 and torch.equal(fitted.times[:4], passes_before)
