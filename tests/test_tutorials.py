"""Every tutorial runs, prints the numbers it should, and is committed as it runs.

`python -m tutorials` writes the notebooks anew after a change to a script.
"""

import json
import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Jupyter's packages, about one another, at import
    import jupytext
    import nbformat

    runner = runpy.run_path(str(Path(__file__).parents[1] / "tutorials" / "__main__.py"), run_name="tutorials")

TUTORIALS = Path(__file__).parents[1] / "tutorials"
LARGEST = 600 * 1024  # bytes: a notebook is text under version control

# Expressions of each tutorial's namespace, and what they must be: (value, tolerance). mclust's figures where published.
NUMBERS = {
    "01_gaussian_mixtures_em_and_svi": {
        "log_likelihood": (-1130.2640, 1e-3),  # mclust VVV,2 on faithful
        "sorted(best.weights.tolist())": ([0.3559, 0.6441], 5e-5),
        "em.model.family.loc[em.model.weights.argsort()].tolist()": ([[2.0364, 54.4785], [4.2897, 79.9681]], 6e-5),
        "largest_difference": (0, 1e-12),  # EM by hand and by fit, pass by pass
        "identity_error": (0, 1e-12),  # log p(X) - ELBO - KL
        "by_guide.std()": (0, 1e-12),  # one-sample Trace_ELBO with the exact posterior
        "comparison.frame().loc['em', 'log_likelihood']": (-1130.2640, 1e-3),
        "comparison.frame().loc['exact', 'log_likelihood']": (-1130.2640, 1e-3),
        "comparison.frame().loc['sampled', 'log_likelihood']": (-1130.2640, 2e-2),
        "comparison.frame().loc['em', 'bic']": (2322.192, 1e-3),  # mclust's sign is the other one
        "plain_shortfall": (0, 0.5),
        "slope": (2, 1e-6),  # D nats for each e-fold of the spike's width
        "len(permutations)": (6, 0),
        "max(permutations.values()) - min(permutations.values())": (0, 1e-9),
        "order.tolist() == [0, 1, 2]": (False, 0),
        "galaxies_log_likelihood": (-203.1792, 1e-3),  # mclust V,3 on galaxies / 1000
    },
}


def test_every_tutorial_is_tested():
    assert [script.stem for script in runner["scripts"]()] == sorted(NUMBERS)
    assert sorted(path.stem for path in TUTORIALS.glob("*.ipynb")) == sorted(NUMBERS)


@pytest.mark.parametrize("name", NUMBERS)
def test_tutorial_runs_and_gets_its_numbers(name):
    expressions = NUMBERS[name]
    values = ", ".join(f"{text!r}: {text}" for text in expressions)
    last = f"import json\nprint(json.dumps({{{values}}}, default=lambda number: number.item()))"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # zmq and jupyter_client, about one another
        notebook = runner["execute"](TUTORIALS / f"{name}.py", last)
    found = json.loads(notebook.cells[-1].outputs[0].text)
    for text, (value, tolerance) in expressions.items():
        worst = abs(_flat(found[text]) - _flat(value)).max()
        assert worst <= tolerance, f"{text} is {found[text]}, expected {value} within {tolerance}"
    assert _errors(notebook) == []


@pytest.mark.parametrize("name", NUMBERS)
def test_committed_notebook_is_the_script_as_it_runs(name):
    path = TUTORIALS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    script = jupytext.read(path.with_suffix(".py"))
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in script.cells], (
        f"{path.name} is not what {name}.py makes: run python -m tutorials"
    )
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))  # once, from top to bottom
    assert _errors(notebook) == []
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert path.stat().st_size < LARGEST
    shown = json.dumps([[_without_images(output) for output in cell.outputs] for cell in code])
    assert re.findall(r"/(?:home|root|tmp|work|Users|usr|opt)/\S*|[A-Z]:\\\\Users\S*", shown) == []


def _errors(notebook) -> list:
    """What went wrong: exceptions, and anything on the standard error stream, warnings too."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [o for o in outputs if o.output_type == "error" or (o.output_type == "stream" and o.name == "stderr")]


def _without_images(output) -> dict:
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
    return {**output, "data": data}


def _flat(value):
    return np.asarray(value, dtype=float).ravel()
