"""The floors hold: knowledge flows down, nothing goes in a circle, and the one door upwards is listed."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lowerbound.inference.upward import UPWARD, upward

ROOT = Path(__file__).parents[1]
FORBIDDEN = {  # a file, an import that it must not have, and the contract that says so
    "models/families/poisson.py": ("from ...inference import fit", "Floors: each imports from those below it only"),
    "models/kernels/visit.py": ("from ..families.poisson import Poisson", "Floors inside models"),
    "inference/engines/em.py": ("from ..fitting.fit import fit", "Floors inside inference"),
    "lowerbound/data/schema.py": ("from .rows import Rows", "No circles"),
}


def test_a_forbidden_import_is_refused(tmp_path):
    """One copy of the tree with an import of each kind, late or at the top: every contract breaks and names it."""
    for folder in ("models", "inference", "datasets", "lowerbound"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, (line, _) in FORBIDDEN.items():
        with (tmp_path / file).open("a") as open_file:
            open_file.write(f"\n\ndef late():\n    {line}\n")
    program = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    for file, (_, contract) in FORBIDDEN.items():
        assert f"{contract} BROKEN" in done.stdout
        assert Path(file).stem in done.stdout.split("Broken contracts")[1], file


@pytest.mark.parametrize("name", UPWARD)
def test_every_door_upwards_opens(name):
    assert callable(upward(name))
    kind, method = name.split(".")
    used = [path for path in (ROOT / "inference").rglob("*.py") if f'upward("{name}")' in path.read_text()]
    assert len(used) == 1
    tree = ast.parse(used[0].read_text())
    (definition,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind]
    assert method in [node.name for node in definition.body if isinstance(node, ast.FunctionDef)]


def test_every_folder_says_what_lives_in_it():
    folders = {
        path.parent for folder in ("models", "inference", "lowerbound/data") for path in (ROOT / folder).rglob("*.py")
    }
    for folder in folders:
        paragraph = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert paragraph is not None and len(paragraph.split()) >= 15, folder
        for file in re.findall(r"`(\w+\.py)`", paragraph):
            assert (folder / file).exists(), f"{folder} has no {file}"


BY_NAME = re.compile(r"\b(?:hasattr|getattr)\(|\bvars\([^()]*\)\.get\(")


def test_capabilities_are_asked_by_contract():
    """hasattr, getattr and vars(x).get are for what has no contract: at most 20, each with a reason beside it."""
    found, count = [], 0
    for path in [*(ROOT / "models").rglob("*.py"), *(ROOT / "inference").rglob("*.py")]:
        lines = path.read_text().splitlines()
        for i, line in enumerate(lines):
            count += len(BY_NAME.findall(line))
            if BY_NAME.search(line) and "#" not in line + lines[i - 1]:
                found.append((path.name, i + 1, line.strip()))
    assert found == []
    assert count <= 20, count
