"""Two processes on this machine, each with its part of the rows, come to what one comes to with all of them.

The oracle is the fit by one process, made here; see distributed_job.py for the cases.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import distributed_job
import numpy as np
import pytest
import torch
from filelock import FileLock

SCRIPT = Path(distributed_job.__file__)
SAME = 1e-10
pytestmark = pytest.mark.xdist_group("processes")  # so that no other process waits for a job
LIMIT = 150  # seconds, after which a job counts as hung


def environment(**more):
    own = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(SCRIPT.parents[1])}
    return {**os.environ, **own, **more}


def started(what, folder):
    """Two processes of a job, without torchrun: (exit status, error stream) of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), what, str(folder)],
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **job), stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        return [(process.communicate(timeout=LIMIT)[1], process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the jobs of this run of the tests write, in which the processes of pytest-xdist have part."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "distributed"
    folder.mkdir(exist_ok=True)
    return folder


def once(folder, what):
    """What the processes of a job said, of which whoever asks first starts it."""
    with FileLock(folder / f"{what}.lock"):
        said = folder / f"{what}.json"
        if not said.exists():
            said.write_text(json.dumps(started(what, folder)))
        return json.loads(said.read_text())


@pytest.fixture(scope="module")
def killed(folder):
    """What the two processes of a job said, of which the second was killed in mid-run."""
    return once(folder, "killed")


@pytest.fixture(scope="module")
def found(killed, folder):
    """What each of the two processes found in all cases."""
    ends = once(folder, "cases")
    assert [status for _, status in ends] == [0, 0], ends
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def assert_same(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].shape == value.shape, name
        torch.testing.assert_close(ours[name], value, rtol=tolerance, atol=tolerance, equal_nan=True, msg=name)


@pytest.mark.parametrize("name", distributed_job.fits())
def test_same_as_one_process(found, name):
    one = distributed_job.numbers(distributed_job.fits()[name]())
    assert_same(found[0][name], one, SAME)
    assert_same(found[1][name], found[0][name], 0.0)  # to the bit


def test_parts_of_different_size_that_are_given_as_such(found):
    one = distributed_job.numbers(distributed_job.local())
    assert_same(found[0]["local"], one, SAME)
    assert_same(found[1]["local"], found[0]["local"], 0.0)


@pytest.mark.parametrize("name", distributed_job.noisy())
def test_noisy_runs_agree_on_all_processes_and_end_near_that_of_one(found, name):
    one, (first, second) = distributed_job.noisy()[name](), (each["noisy"][name] for each in found)
    assert_same(second, first, 0.0)
    start, end, ours = one.bounds[0], one.bounds[-1], first["bounds"]
    if name != "running means":  # whose network begins elsewhere in each process
        assert abs(ours[0] - start) < 1e-6  # the same start; a VAE is in single precision
        assert abs(ours[-1] - end) < 0.1 * (end - start)
    assert ours[-1] > ours[0]


def test_gradients_are_averaged_by_rows(found):
    for each in found:
        assert each["average"].tolist() == [0.75, 1.75, 2.75]  # (1 v + 3 (v + 1)) / 4


WRONG = {
    "infinite": "ValueError: row 250, column 1 holds an infinite value",
    "impossible": "ValueError: row 200, column 0 holds -2, expected",
    "in the validation": "ValueError: validation: row 250, column 1 holds",
    "another table": "ValueError: the processes of this job have tables of 299 x 2 and 300 x 2 cells",
    "another row": "ValueError: the processes of this job have different tables of one shape, 301 x 2, expected",
    "another column": "ValueError: the processes of this job have different tables of one shape, 301 x 2, expected",
    "on one": "ValueError: weight 0 is -1.0, expected",
    "loader": "TypeError: got a DataLoader in a job of several processes, expected a table",
    "sampler": "TypeError: NUTS reads all rows",
    "few": "ValueError: got 1 rows for 2 processes",
    "alone": "ArithmeticError: the processes have come to different bounds",
    "folder": "FileNotFoundError: cannot write /nowhere/run.ckpt",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_goes_wrong_in_one_is_said_by_all(found, name):
    for each in found:
        assert each["wrong"][name].startswith(WRONG[name])


def test_a_collapse_is_the_same(found):
    one = distributed_job.said(distributed_job.wrong()["collapse"])
    assert one.startswith("Collapse: the run ended in a singularity")
    assert [each["wrong"]["collapse"] for each in found] == [one, one]


def test_only_the_first_process_writes(found, folder):
    assert sorted(path.name for path in folder.glob("saved*")) == ["saved by 0"]
    assert not list(folder.glob(".*"))  # nor anything that was begun


def test_who_is_left_says_that_another_process_is_gone(killed):
    (error, status), (_, of_the_killed) = killed
    assert of_the_killed == -9 and status == 1
    assert "ConnectionError: another process of this job ended" in error.rstrip().splitlines()[-1]


def test_a_run_that_was_killed_goes_on_to_the_same_bits(found):
    for each in found:
        assert_same(each["resumed"], each["whole"], 0.0)
        assert len(each["whole"]["bounds"]) == 8


def test_batches_belong_to_so_many_processes(found, folder):
    with pytest.raises(ValueError, match=r"is of processes 2, this run has processes none"):
        distributed_job.resumable(folder / "whole.ckpt")


def test_torchrun_restarts_a_job_that_was_killed_and_prints_once(tmp_path):
    from lowerbound.inference import EM, fit, load
    from lowerbound.models import GaussianMixture

    np.save(tmp_path / "big.npy", distributed_job.X)
    script = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    options = ["--components", "3", "--checkpoint", "run.ckpt", "--out", "out.safetensors"]
    job = subprocess.Popen(
        [sys.executable, *script, str(SCRIPT), "cli", str(tmp_path), "fit", "big.npy", *options],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, error = job.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        raise
    assert job.returncode == 0, error
    assert "exitcode: -9" in error  # it was killed
    assert len(re.findall("saved: out.safetensors", out)) == 1
    ours, one = load(tmp_path / "out.safetensors"), fit(GaussianMixture(3, 2), distributed_job.X, EM())
    one.model.permute(one.model.canonical_order())
    assert_same(distributed_job.numbers(ours), distributed_job.numbers(one), SAME)
    # one process takes the same checkpoint for its own
    again = fit(GaussianMixture(3, 2), distributed_job.X, EM(), checkpoint=tmp_path / "run.ckpt")
    assert again.seconds == ours.seconds
