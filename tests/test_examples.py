"""The example of the documentation: its file with gaps, and its table."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmvae_jax import data

PATH = Path(__file__).resolve().parents[1] / "examples" / "views.py"


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
