"""`import lowerbound` and `python -m lowerbound` in the parent folder of a clone, which is named as the package is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lowerbound

ROOT = Path(lowerbound.__file__).resolve().parent.parent
IMPORT = "import lowerbound; from lowerbound import datasets; "
IMPORT += "print(lowerbound.__version__, lowerbound.__file__, *datasets.names())"


@pytest.fixture
def parent(tmp_path):
    (tmp_path / "lowerbound").symlink_to(ROOT)
    return tmp_path


def run(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_import_finds_the_package_in_the_clone(parent):
    version, file, *names = run(parent, "-c", IMPORT).split()
    assert version == lowerbound.__version__ and "titanic" in names
    assert file == str(parent / "lowerbound" / "lowerbound" / "__init__.py")


def test_the_command_line_runs(parent):
    assert "compare" in run(parent, "-m", "lowerbound", "--help")
