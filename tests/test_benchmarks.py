"""The benchmarks run. Not how fast, which is for a quiet machine, but that both sides compute the same."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks are not installed: they live in the checkout
from benchmarks import calibration, coverage, gaussian_pass, other_families, restarts, selection


@pytest.fixture(autouse=True)
def threads_as_they_were():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_both_sides_get_the_same_bound(covariance):
    result = gaussian_pass.compare(500, 3, 2, covariance, pairs=1)  # exits if they do not
    assert result["bound_difference"] < 1e-9
    assert result["least"] <= result["ratio"] <= result["most"]


def test_quick_run_prints_and_writes_what_it_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gaussian_pass, "HEADLINE", (20_000, 4, 3, "full"))
    monkeypatch.setattr(gaussian_pass, "RESULTS", tmp_path / "results" / "gaussian_pass.json")
    code = gaussian_pass.main(["--quick", "--pairs", "1", "--threads", "1"])
    written = json.loads(gaussian_pass.RESULTS.read_text())
    assert code == int(written["passes"][0]["ratio"] < gaussian_pass.REQUIRED)
    assert written["machine"]["threads"]["torch"] == 1
    assert set(written["svi_steps"][0]["ms"]) >= {"torch by hand", "exact"}
    assert "headline" in capsys.readouterr().out


def test_a_headline_below_what_is_required_fails_and_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gaussian_pass, "HEADLINE", (10_000, 2, 2, "full"))
    monkeypatch.setattr(gaussian_pass, "RESULTS", tmp_path / "gaussian_pass.json")
    monkeypatch.setattr(gaussian_pass, "REQUIRED", float("inf"))
    assert gaussian_pass.main(["--quick", "--pairs", "1", "--threads", "1"]) == 1
    assert "TOO SLOW" in capsys.readouterr().out


def test_other_families_agree_with_stepmix_and_scikit_learn_before_they_are_timed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(other_families, "CLASSES", ((2_000, 6, 3, 2),))
    monkeypatch.setattr(other_families, "CENTRES", ((2_000, 3, 4),))
    monkeypatch.setattr(other_families, "RESULTS", tmp_path / "other_families.json")
    code = other_families.main(["--pairs", "1", "--threads", "1"])  # exits in words if they do not agree
    written = json.loads(other_families.RESULTS.read_text())
    assert code == int(written["passes"][0]["ratio"] < other_families.REQUIRED)
    assert [row["other"] for row in written["passes"]] == ["StepMix", "scikit-learn"]
    assert "times as fast as StepMix" in capsys.readouterr().out


def test_restarts_agree_with_scikit_learn_before_they_are_timed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(restarts, "RESULTS", tmp_path / "restarts.json")
    code = restarts.main(["--pairs", "1", "--restarts", "3"])  # exits in words if the best bounds differ
    written = json.loads(restarts.RESULTS.read_text())
    sides = written["sides"]
    assert code == int(sides["scikit-learn, comparable"]["ratio"] < restarts.REQUIRED)
    assert all(abs(side["gap"]) < 1e-6 for side in sides.values())
    assert sides["scikit-learn, comparable"]["gap"] <= max(written["gap"], 1e-12)
    assert "times as fast as scikit-learn" in capsys.readouterr().out


def test_the_simulations_run_and_write_what_they_found(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(coverage, "DESIGNS", dict(list(coverage.DESIGNS.items())[:1]))
    monkeypatch.setattr(coverage, "RESULTS", tmp_path / "coverage.json")
    code = coverage.main(["--sets", "3", "--bootstrapped", "1", "--repeats", "5"])
    (found,) = json.loads(coverage.RESULTS.read_text())["designs"].values()
    assert found["sets"] == 3 and found["bootstrapped"] == 1 and len(found["information"]) == 6
    assert code == int("TOO FAR" in capsys.readouterr().out)
    name = "two tied Gaussians in 2 dimensions, n = 300"
    monkeypatch.setattr(selection, "DESIGNS", {name: selection.DESIGNS[name]})
    monkeypatch.setattr(selection, "RESULTS", tmp_path / "selection.json")
    assert selection.main(["--sets", "1", "--folds", "2"]) == 0
    assert json.loads(selection.RESULTS.read_text())["designs"][name]["share"]["bic"] == 1


def test_calibration_tells_uniform_ranks_from_others():
    rng, most = np.random.default_rng(0), calibration.DRAWS + 1
    tests = np.array([calibration.judged(rng.integers(0, most, 60))["p"] for _ in range(60)])
    assert 0 < (tests < 0.1).sum() < 16  # of Binomial(60, .1) but once in 500
    low, wide = rng.integers(0, most - 5, 400), rng.choice([0, 1, 9, 18, 19], 400)
    assert max(calibration.judged(low)["p"], calibration.judged(wide)["p"]) < 1e-3
    every = calibration.judged(np.arange(most))
    assert every["coverage"] == {"50": 0.5, "90": 0.9} and max(np.abs(every["difference"])) < 1e-12


def test_calibration_runs_and_writes_what_it_found(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(calibration, "RESULTS", tmp_path / "calibration.json")
    monkeypatch.setattr(calibration, "PICTURE", tmp_path / "calibration.png")
    monkeypatch.setattr(calibration, "WARMUP", 20)
    code = calibration.main(["--sets", "2", "--vb-sets", "3"])
    found = json.loads(calibration.RESULTS.read_text())["result"]
    assert found["nuts"]["sets"] == 2 and found["vb"]["sets"] == 3 and calibration.PICTURE.exists()
    assert all(sum(own["counts"]) == 3 for own in found["vb"]["quantities"].values())
    assert code == int("MISCALIBRATED" in capsys.readouterr().out)
