"""The example of the documentation: its file with gaps, and its table."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mmvae_jax import data

PATH = Path(__file__).resolve().parents[1] / "examples" / "views.py"
NOTEBOOK = PATH.with_suffix(".ipynb")


@pytest.fixture
def views(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("views", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_taken_away_is_scored(views, capsys):
    views.make()
    with np.load("truth.npz") as truth, np.load("views.npz") as made:
        np.savez("filled.npz", **truth)
        gone = ~np.stack([*(~np.isnan(made[n]).any(1) for n in views.VIEWS)], 1)
        gone = np.concatenate([gone, ~made["diagnosis__present"][:, None]], 1)
    assert 0.35 < gone.mean() < 0.45 and not gone.all(1).any()
    views.score()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == ["this", "model", "0.000", "0.000", "0.000", "1.000"]
    assert all(0.6 < float(line.split()[-2]) < 1.1 for line in lines[2:-2])


def test_the_file_is_what_the_documentation_says(views):
    views.make()
    dataset = data.load("arrays", {"path": "views.npz"})
    kinds = {name: kind for name, (kind, _) in dataset.kinds.items()}
    assert kinds == dict.fromkeys(views.VIEWS, "vector") | {"diagnosis": "label"}


def test_the_notebook_is_kept_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            compile(code_of(cell), cell["id"], "exec")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    """Its cells in order, shortened to one epoch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("MMVAE_EXAMPLE_EPOCHS", "1")
    names: dict = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile(code_of(cell), cell["id"], "exec"), names)
    assert names["codes"].shape[0] == len(names["truth"]["diagnosis"]) == 569
    assert "this model" in capsys.readouterr().out
    for name, values in names["items"].items():
        if name in names["filled"] and values.dtype.kind == "f":
            here = ~np.isnan(values)
            np.testing.assert_array_equal(names["filled"][name][here], values[here])
    assert (tmp_path / "runs" / "notebook" / "report.html").exists()


def code_of(cell):
    """A cell's Python, without the lines that only Jupyter knows."""
    return "".join(line for line in cell["source"] if not line.startswith("%"))
