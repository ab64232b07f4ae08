"""Figures and metrics of a trained run from Python."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from matplotlib.figure import Figure

import mmvae_jax
from mmvae_jax import evaluation, report, runner
from mmvae_jax.types import UserError


@pytest.fixture(scope="module")
def trained(tiny_run):
    return mmvae_jax.load(tiny_run)


@pytest.fixture
def views(tiny_data):
    test = tiny_data.splits["test"]
    return {name: x[:7] for name, x in test.x.items()}


def test_a_run_without_figures_has_a_page(tiny_run):
    text = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert "mmvae_plus on polydigits" in text and "config.evaluation.figures is off" in text
    assert "a test" in text and not (tiny_run / "figures").exists()
    run = json.loads((tiny_run / "config.json").read_text())
    assert "cpu" in run["hardware"]["devices"] and "changed" not in run


def test_metrics_of_the_test_rows_are_those_of_the_run(trained, tiny_run):
    found = trained.evaluate(["bound/test"])
    results = json.loads((tiny_run / "results.json").read_text())
    assert set(found) == {"bound/test"} and found["bound/test"].n == 24
    np.testing.assert_allclose(found["bound/test"].value, results["bound/test"]["value"], rtol=1e-6)


def test_metrics_of_own_items(trained, views, tiny_data):
    label = tiny_data.splits["test"].label[:7]
    found = trained.evaluate(("bound/test",), {**views, "label": label}, batch_size=16)
    assert found["bound/test"].n == 7 and np.isfinite(found["bound/test"].value)
    with pytest.raises(UserError, match=r"label must be a whole number for each of 7 items"):
        trained.evaluate((), {**views, "label": label[:3]})
    beyond = r"label holds 10, this run's classes are 0 to 9$"
    with pytest.raises(UserError, match=beyond):
        trained.evaluate(("bound/test",), {**views, "label": np.arange(4, 11)})
    with pytest.raises(UserError, match=beyond):
        trained.figures(["reconstructions"], {**views, "label": np.arange(4, 11)})
    with pytest.raises(UserError, match="there is no metric 'bound'"):
        trained.evaluate(("bound",))


def test_what_was_not_measured_is_told_with_the_reason(trained, monkeypatch):
    def unlabelled(context):
        raise evaluation.NotApplicable("it has no labels")

    bound = {"bound/test": evaluation.Result(value=-7.0)}
    for name in evaluation.METRICS:
        metric = (lambda context: bound) if name == "bound/test" else unlabelled
        monkeypatch.setitem(evaluation.METRICS, name, metric)
    some, every = trained.evaluate(), trained.evaluate("all")
    assert set(some) == set(every) == {"bound/test"}
    assert set(some.skipped) == set(every.skipped) == evaluation.METRICS.keys() - {"bound/test"}
    assert some.skipped["probe"] == every.skipped["cca"] == "it has no labels"
    assert "takes longer" in some.skipped["cca"]
    assert "-7" in repr(some) and "skipped: it has no labels" in repr(some)
    assert trained.evaluate(["probe"]).skipped == {"probe": "it has no labels"}


def test_items_of_a_run_without_classes_may_have_their_own(tiny_run, views):
    bare = mmvae_jax.load(tiny_run)
    # Where `dataset` is looked up once: as if the run were on data without classes.
    bare.__dict__["_own_dataset"] = dataclasses.replace(
        bare.dataset(), num_classes=0, class_names=()
    )
    for label in (np.arange(7), np.full(7, -1)):  # negative: no class is known
        found = bare.evaluate(("bound/test",), {**views, "label": label}, batch_size=16)
        assert found["bound/test"].n == 7


def test_what_codes_hold_of_own_items_needs_no_labels(trained, views):
    own = {**views, "m1__present": np.arange(7) > 2}
    found = trained.evaluate(("retrieval", "relatedness", "information"), own, batch_size=16)
    recall = found["retrieval/recall@1/mean"]
    assert recall.n == 7 and 0 <= recall.value <= 1 and "7 candidates" in recall.how
    assert np.isfinite(found["relatedness/auc/mean"].value)
    assert found["information/kl/shared/m1"].n == 4
    assert not any("precision" in name or "classes" in name for name in found)


def test_figures_show_no_numbers_of_another_step(trained, tiny_run, monkeypatch):
    assert "coherence" in trained.figures(["coherence"])
    earlier = dataclasses.replace(trained, step=trained.step - 1)
    assert earlier.figures(["coherence"]) == {}
    given = []
    monkeypatch.setattr(report, "write_report", lambda *arguments: given.append(arguments))
    runner.report(tiny_run)
    (arguments,) = given
    assert arguments[-2] == tiny_run
    assert {name: found.value for name, found in arguments[-1].items()} == {"step": trained.step}


def test_figures_are_matplotlibs(trained, views):
    """Of the run's test rows, and of items of one's own, which may lack what they lack."""
    own = {**views, "m1__present": np.arange(7) != 2}
    figure = trained.figure("reconstructions", own)
    assert isinstance(figure, Figure) and len(figure.axes) == 3
    (image,) = figure.axes[1].get_images()
    shown = np.asarray(image.get_array())
    assert shown.shape == (2 * 17 - 1, 7 * 17 - 1, 3)
    # Whole rows come first, so that the one without m1 is the last, and its cell is empty.
    np.testing.assert_allclose(shown[:16, :16], views["m1"][0] / 255, rtol=1e-5)
    assert (shown[:16, -16:] == 1).all()
    assert set(trained.figures(["training", "coherence"], own)) == {"training"}
    with pytest.raises(UserError, match="figure 'coherence': conditional coherence was not"):
        trained.figure("coherence", own)  # the run's own was not measured on these
    with pytest.raises(UserError, match="no figure 'x'"):
        trained.figures(["x"])
