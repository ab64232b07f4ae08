"""Every model from its own config to its page: a few steps, every metric, every figure.

What is measured is of no interest here, only that all of it can be: each number is finite, each
figure is on the page, and what is left out is left out for a reason that is known.
"""

from __future__ import annotations

import importlib
import json
import re

import numpy as np
import pytest

import mmvae_jax
from mmvae_jax import models, runner
from mmvae_jax.evaluation import METRICS, mutual_information
from mmvae_jax.report import FIGURES, style
from tests.report import browser

pytestmark = pytest.mark.slow

# {result or metric: part of the reason}, whatever the model: the data are images with classes.
OF_THE_DATA = {
    "quality/inception": "names no weights",
    "classification/accuracy": "no modality is the class label",
    "classification/attributes": "no modality holds attributes",
    "classification/text": "no modality is a text",
    "captions": "has no captions",
    "cca": "has no captions",
}
OF_TWO_MODALITIES = {"coherence/given": "2 modalities", "probe/given": "2 modalities"}
OF_A_MIXTURE = {"information/joint": "the posterior is a mixture"}
NO_PRIVATE_CODES = {
    "coherence/instance": "no modality has a private code",
    "probe/joint/all": "no modality has a private code",
    "probe/private/m0": "it has no private code",
    "probe/private/m1": "it has no private code",
    "probe/private/mean": "no modality has a private probe",
}
NO_PRIOR = dict.fromkeys(
    ("bound/test", "log_likelihood", "information/dimension_wise_kl", "information/kl"),
    "MEME defines no prior p(z)",
)
# A model that has hardly been trained may have no dimension that tells the class.
UNTRAINED = {"importance/m": "no dimension tells enough", "importance/private": "no private code"}

PRIVATE_FIGURES = {"style_content", "private_traversals", "private_scales"}
SKIPPED = {
    "dmvae": {},
    "dmvae_hybrid": {},
    "jmvae": NO_PRIVATE_CODES,
    "meme": NO_PRIVATE_CODES | NO_PRIOR | OF_A_MIXTURE,
    "mmjsd": NO_PRIVATE_CODES | OF_A_MIXTURE,
    "mmvae": NO_PRIVATE_CODES | OF_A_MIXTURE,
    "mmvae_plus": OF_A_MIXTURE,
    "mopoe": NO_PRIVATE_CODES | OF_A_MIXTURE,
    "mvae": NO_PRIVATE_CODES,
}
# How results of a metric begin, where it is not as the metric is named or another begins so too.
RESULTS = {"probe": "probe/shared/", "quality/reconstruction": "quality/mse/"}
# Two modalities compile in half the time; the default model shows that three do.
MODALITIES = {"mmvae_plus": 3}


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    """Where the classifiers of the first run wait for the others."""
    return tmp_path_factory.mktemp("judges")


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """What costs most and is the same for every model: fewer pixels, fewer steps of a judge."""
    monkeypatch.setattr(style, "DPI", 50)
    monkeypatch.setattr(mutual_information, "_STEPS", 20)


def tiny(name, cache) -> dict:
    config = importlib.import_module(f"configs.{name}").get_config().to_dict()
    config["num_epochs"], config["batch_size"] = 1, 16
    config["data"].update(num_train=64, num_validation=16, num_test=50)
    config["data"]["num_modalities"] = MODALITIES.get(name, 2)
    config["model"]["network_options"]["conv"].update(width=4, hidden=16)
    config["training"].update(log_every=2)
    config["evaluation"].update(
        metrics="all",
        batch_size=50,
        bound_samples=2,
        likelihood_samples=2,
        probe_train=40,
        classifier_epochs=1,
        cache_dir=str(cache),
    )
    return config


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_all_that_can_be_measured_and_drawn(name, judges, tmp_path):
    config = tiny(name, judges)
    runner.train(config, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())

    skipped = results.pop("skipped")
    known = OF_THE_DATA | SKIPPED[name]
    known |= OF_TWO_MODALITIES if config["data"]["num_modalities"] == 2 else {}
    for what, reason in known.items():
        assert reason in skipped.pop(what)
    for what, reason in skipped.items():
        assert any(what.startswith(w) and part in reason for w, part in UNTRAINED.items()), what
    for metric in METRICS.keys() - known.keys() - {"importance"}:
        first = RESULTS.get(metric, metric)
        assert any(result.startswith(first) for result in results), metric

    for result, entry in results.items():
        if "value" in entry:
            assert entry["value"] is not None, result
            continue
        values = np.array(entry["values"], float)
        assert np.isfinite(values).any(), result
        # Cells that do not exist: a modality given to itself, or none but itself.
        assert np.isfinite(values).all() or result.endswith("/matrix"), result

    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    left_out = FIGURES.keys() - drawn
    expected = {"conditional_pairs"} if config["data"]["num_modalities"] == 2 else set()
    expected |= PRIVATE_FIGURES if "coherence/instance" in known else set()
    weighed = any(result.startswith("importance/weights/") for result in results)
    assert left_out == (expected if weighed else expected | {"importance"})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    named = set(re.findall(r"figures/(\w+)\.png and \.pdf", page))
    assert named == drawn and page.count("<img ") >= len(drawn)
    for what in left_out:
        assert f"<code>{what}</code>" in page
    for width in browser.WIDTHS if browser.BROWSER else ():
        browser.assert_it_opens_and_fits(tmp_path / "report.html", tmp_path / f"{width}", width)


def test_figures_of_items_of_ones_own(judges, tmp_path):
    """All that need no results of these items, which lack a modality here and there."""
    config = tiny("mmvae_plus", judges)
    config["evaluation"].update(metrics="bound/test", figures=False)
    runner.train(config, tmp_path)
    trained = mmvae_jax.load(tmp_path)
    rows = trained.dataset().splits["test"]
    own = {name: x[:30] for name, x in rows.x.items()}
    own |= {"m1__present": np.arange(30) % 3 > 0, "label": rows.label[:30]}
    drawn = trained.figures((), own)
    assert FIGURES.keys() - drawn.keys() == {"coherence", "robustness", "importance"}
