"""Every Python block of the README runs, in order, in one namespace, and prints what the README says."""

import re
from pathlib import Path

import pyro
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# What takes half a minute, and what runs here in its place.
SHORTER = {
    "NUTS(draws=100, warmup=100, chains=2)": "NUTS(draws=20, warmup=20, chains=2)",
    "max_passes=150": "max_passes=9",
}


def test_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2 and all(text in "".join(blocks) for text in SHORTER)
    space: dict = {}
    for block in blocks:
        for text, shorter in SHORTER.items():
            block = block.replace(text, shorter)
        exec(compile(block, "README.md", "exec"), space)
    out = capsys.readouterr().out
    assert "-1130.26" in out
    summary = space["em"].model.summary(space["x"].columns).round(4)
    assert summary["weight"].tolist() == [0.6441, 0.3559]
    assert summary["mean of waiting"].tolist() == [79.9681, 54.4785]
    assert (tmp_path / "faithful.safetensors").is_file()
    assert min(space["losses"][-50:]) == pytest.approx(1130.264, abs=1.0)
    assert len(pyro.get_param_store()) == 0


def test_first_example_is_short():
    first = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert first is not None
    assert len([line for line in first[1].splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tutorials|datasets|benchmarks|models)/[^`]+)`", README))))
def test_named_files_exist(path):
    assert list(ROOT.glob(f"{path}*")), path


def test_names_in_the_table_exist():
    import lowerbound.inference as inference
    import lowerbound.models as models

    table = README[README.index("| on paper") :]
    for name in set(re.findall(r"`(\w+)(?:\.\w+)*[(`]", table)):
        assert hasattr(models, name) or hasattr(inference, name) or name == "prior", name
