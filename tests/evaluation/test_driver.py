from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest

from mmvae_jax.evaluation import (
    METRICS,
    NotApplicable,
    Result,
    evaluate,
    mutual_information,
    registry,
    validation_bound,
)
from mmvae_jax.evaluation.record import write_results
from mmvae_jax.evaluation.result import load_results, results_at
from tests.evaluation import fakes

# These have tests of their own, and take long to compile.
SLOW = {"robustness", "mutual_information_score", "probe/joint", "probe/given"}
MOST = ",".join(METRICS.keys() - SLOW)
CONFIG = {
    "evaluation": {
        "metrics": MOST,
        "batch_size": 16,
        "bound_samples": 3,
        "likelihood_samples": 2,
        "probe_train": 100,
        "classifier_epochs": 15,
    }
}


NO_WEIGHTS = (
    "config.evaluation.inception names no weights; docs/evaluation.md says how to make them"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    monkeypatch.setattr(mutual_information, "_STEPS", 5)


# Of the fake's numbers.
NOT_DRAWN = {"retrieval", "relatedness", "step", "seconds"}


def run(model, dataset, workdir, cache, **overrides):
    names = tuple(spec.name for spec in dataset.specs)
    section = CONFIG["evaluation"] | {"cache_dir": str(cache)} | overrides
    found = evaluate(
        model, fakes.variables(names), dataset, {"evaluation": section}, workdir, step=7
    )
    return found, json.loads((workdir / "results.json").read_text())


def test_everything_of_a_known_model(tmp_path, cache, capsys):
    (tmp_path / "results.json").write_text('{"seconds/train": {"value": 12.5}, "old": 1}')
    model = fakes.FakeModel(fakes.specs(), wrong=(("a", "v"), ("b", "b")))
    results, stored = run(model, fakes.dataset(), tmp_path, cache, metrics="all")
    # The fake shows the right prototype but for a -> v and b -> b.
    np.testing.assert_array_equal(
        results["coherence/conditional/matrix"].values, [[1, 1, 0], [1, 0, 1], [1, 1, 1]]
    )
    mean = results["coherence/conditional/mean"]
    assert (mean.value, mean.n) == (pytest.approx(5 / 6), 50)
    assert mean.standard_error == 0  # every row has the same five hits
    assert results["coherence/unconditional"].value == 1
    assert results["coherence/unconditional"].n == 50
    assert results["classifier/accuracy/mean"].value == 1
    assert results["probe/shared/mean"].value > 0.95
    assert results["probe/private/mean"].value < 0.5
    assert results["bound/test"].value == pytest.approx(fakes.bound_of(3), abs=1e-5)
    assert results["bound/test"].n == 50
    assert stored["seconds/train"] == {"value": 12.5} and "old" not in stored
    assert stored["coherence/conditional/matrix"]["values"][0] == [1, 1, 0]
    assert set(stored["bound/test"]) == {"value", "standard_error", "n", "how", "seed", "metric"}
    seeds = {name: entry.get("seed") for name, entry in stored.items() if name != "skipped"}
    drawn_not = {name for name, seed in seeds.items() if seed is None}
    assert {name.split("/")[0] for name in drawn_not} == NOT_DRAWN
    assert set(seeds.values()) == {0, None}
    assert stored["step"]["value"] == 7 and stored["seconds/evaluate"]["value"] > 0
    assert results["diversity/conditional/mean"].value == pytest.approx(0, abs=1e-12)
    assert results["coherence/given/2"].value == 1
    assert results["coherence/instance/cross/prior"].value == 1
    assert results["log_likelihood/joint"].value == pytest.approx(fakes.bound_of(2), abs=1e-5)
    assert results["quality/classifier_frechet/real/mean"].value > 0
    assert results["retrieval/precision@5/mean"].value == 1
    assert results["relatedness/auc/mean"].value > 0.5
    assert results["information/mutual_information/shared/a"].value > 0
    assert results["importance/accuracy/a"].value > 0.9
    assert stored["skipped"] == {
        "probe/private/v": "it has no private code",
        "importance/private/v": "it has no private code",
        "information/joint": "the posterior is a mixture",
        "quality/ssim/a": "it is smaller than 11x11",
        "quality/ssim/b": "it is smaller than 11x11",
        "quality/inception": NO_WEIGHTS,
        "classification/accuracy": "no modality is the class label",
        "classification/attributes": "no modality holds attributes",
        "classification/text": "no modality is a text",
        "captions": "the data set 'fake' has no captions that can be checked",
        "cca": "the data set 'fake' has no captions",
    }
    printed = capsys.readouterr().out
    assert "from a" in printed and "to v" in printed and "classifier accuracy" in printed


def test_prior_samples_that_disagree_and_private_codes_that_tell(tmp_path, cache):
    model = fakes.FakeModel(fakes.specs(), agree=False, informative_private=True)
    results, _ = run(model, fakes.dataset(), tmp_path, cache)
    assert results["coherence/unconditional"].value == 0
    assert results["probe/private/a"].value > 0.95


def test_absent_rows_do_not_count(tmp_path, cache):
    dataset = fakes.dataset()
    test = dataset.splits["test"]
    test.present["a"][:30] = False
    # What an absent modality holds would be taken for another class.
    test.x["a"][:30] = test.x["a"][1:31].copy()
    results, _ = run(fakes.FakeModel(fakes.specs()), dataset, tmp_path, cache)
    matrix = results["coherence/conditional/matrix"]
    np.testing.assert_array_equal(matrix.values, np.ones((3, 3)))
    assert matrix.n == 50 and ", 20 to 50 in a cell;" in matrix.how
    assert results["probe/shared/a"].n == 20
    assert results["classifier/accuracy/a"].n == 20
    assert results["bound/test"].n == 50


@pytest.mark.parametrize("count", [5, 17])
def test_fewer_test_rows_than_a_batch_and_a_padded_last_batch(tmp_path, cache, count):
    dataset = fakes.dataset(test=count)
    results, _ = run(fakes.FakeModel(fakes.specs()), dataset, tmp_path, tmp_path / "c")
    assert results["coherence/conditional/mean"].n == count
    assert results["coherence/conditional/mean"].value == 1
    assert results["bound/test"].n == count


def test_num_examples_limits_the_test_rows(tmp_path, cache):
    results, _ = run(
        fakes.FakeModel(fakes.specs()), fakes.dataset(), tmp_path, cache, num_examples=9
    )
    assert results["bound/test"].n == results["coherence/unconditional"].n == 9


def test_some_metrics_leave_the_others_numbers_of_the_same_step(tmp_path, cache):
    for step, kept in ((7, True), (8, False)):
        file = tmp_path / "results.json"
        file.write_text('{"step": {"value": 7.0}, "bound/test": {"value": 1.0}}')
        model, variables = fakes.FakeModel(fakes.specs()), fakes.variables()
        section = CONFIG["evaluation"] | {"cache_dir": str(cache), "metrics": "probe"}
        config = {"evaluation": section}
        results = evaluate(model, variables, fakes.dataset(), config, tmp_path, step=step)
        assert "probe/shared/mean" in results and "classifier/accuracy/a" not in results
        assert ("bound/test" in load_results(file)) == kept


def test_some_metrics_wait_until_they_are_asked_for(monkeypatch, tmp_path, capsys):
    ran = []
    for name in registry.METRICS:
        metric = functools.partial(lambda name, context: ran.append(name) or {}, name)
        monkeypatch.setitem(registry.METRICS, name, metric)
    model, dataset = fakes.FakeModel(fakes.specs()), fakes.dataset()
    (tmp_path / "results.json").write_text('{"step": {"value": 7.0}, "old": {"value": 1.0}}')
    for metrics, count in (("", len(registry.ON_REQUEST)), ("all", 0)):
        ran.clear()
        config = {"evaluation": {"metrics": metrics}}
        evaluate(model, fakes.variables(), dataset, config, tmp_path, step=7)
        skipped = json.loads((tmp_path / "results.json").read_text())["skipped"]
        assert ran == [name for name in METRICS if name not in skipped]
        assert len(skipped) == count and "old" not in load_results(tmp_path / "results.json")
        assert all("metrics = 'all'" in why for why in skipped.values())


def test_choices_are_made_on_validation_rows_into_a_file_of_their_own(tmp_path, cache, capsys):
    (tmp_path / "results.json").write_text('{"bound/test": {"value": 1.0}}')
    dataset = fakes.dataset()
    # Test rows are not looked at: their absence would show.
    for name in dataset.splits["test"].present:
        dataset.splits["test"].present[name][:] = False
    model = fakes.FakeModel(fakes.specs(), wrong=(("a", "v"),))
    section = CONFIG["evaluation"] | {"cache_dir": str(cache), "split": "validation"}
    results = evaluate(model, fakes.variables(), dataset, {"evaluation": section}, tmp_path, step=7)
    assert results["bound/validation"].n == 30 and "bound/test" not in results
    assert results["coherence/unconditional"].n == 30
    assert results["coherence/conditional/matrix"].n == 30
    assert results["classifier/accuracy/a"].n == 30
    assert results["probe/shared/a"].n == 30
    # The time names what was measured, bound/test among it.
    timeless = {name: result for name, result in results.items() if name != "seconds/evaluate"}
    measured = [result.how for name, result in timeless.items() if "/" in name]
    assert not any("test" in how for how in measured)
    stored = load_results(tmp_path / "results-validation.json")
    assert stored["coherence/conditional/mean"].value == pytest.approx(5 / 6)
    assert load_results(tmp_path / "results.json")["bound/test"].value == 1
    assert "validation" in capsys.readouterr().out


def test_without_labels_label_metrics_are_skipped_with_the_reason(tmp_path, cache):
    dataset = fakes.dataset(labels=False)
    results, stored = run(fakes.FakeModel(fakes.specs()), dataset, tmp_path, cache, metrics="all")
    families = {name.split("/")[0] for name in results}
    assert families == {
        "bound",
        "log_likelihood",
        "effective_sample_fraction",
        "log_weight_variance",
        "diversity",
        "quality",
        "retrieval",
        "relatedness",
        "information",
        "robustness",
        "step",
        "seconds",
    }
    reason = "the dataset 'fake' has no labels"
    unlabelled = ("bound", "diversity", "log_likelihood", "quality/reconstruction")
    unlabelled += ("retrieval", "relatedness", "information")
    unlabelled += ("robustness",)
    skipped = {name: why for name, why in stored["skipped"].items() if "ssim" not in name}
    assert skipped.pop("robustness/coherence") == reason
    others = {
        "quality/inception": NO_WEIGHTS,
        "classification/attributes": "no modality holds attributes",
        "classification/text": "no modality is a text",
        "captions": "the data set 'fake' has no captions that can be checked",
        "information/joint": "the posterior is a mixture",
        "cca": "the data set 'fake' has no captions",
    }
    assert skipped.pop("retrieval/precision") == skipped.pop("relatedness/classes") == reason
    assert {name: skipped.pop(name) for name in others} == others
    names = METRICS.keys() - others.keys()
    assert skipped == {name: reason for name in names if not name.startswith(unlabelled)}


def test_one_modality_has_nothing_to_cross_over_to(tmp_path, cache):
    names = ("a",)
    results, stored = run(
        fakes.FakeModel(fakes.specs(names)), fakes.dataset(names), tmp_path, cache
    )
    assert "one modality only" in stored["skipped"]["coherence/conditional"]
    assert "coherence/unconditional" in stored["skipped"]
    assert results["probe/shared/mean"].value > 0.95


def test_a_modality_without_a_classifier_is_a_null_column(tmp_path, cache):
    names = ("a", "b", "s")
    results, stored = run(
        fakes.FakeModel(fakes.specs(names)), fakes.dataset(names), tmp_path, cache
    )
    column = [row[2] for row in stored["coherence/conditional/matrix"]["values"]]
    assert column == [None] * 3
    assert results["coherence/conditional/mean"].value == 1
    assert "shape [4, 4, 1] and type uint8" in stored["skipped"]["classifier/accuracy/s"]


def test_a_model_that_cannot_answer_says_so(tmp_path, cache):
    class NoDensity(fakes.FakeModel):
        def log_weights(self, *args):
            raise NotImplementedError("it has no p(z)")

    _, stored = run(NoDensity(fakes.specs()), fakes.dataset(labels=False), tmp_path, cache)
    assert stored["skipped"]["bound/test"] == "it has no p(z)"


def test_the_same_seed_gives_the_same_numbers(tmp_path, cache):
    model = fakes.FakeModel(fakes.specs())
    first, _ = run(model, fakes.dataset(), tmp_path, cache)
    second, _ = run(model, fakes.dataset(), tmp_path, cache)
    assert first["probe/shared/mean"].value == second["probe/shared/mean"].value


def test_what_is_drawn_bears_the_seed_and_what_is_not_is_the_same_for_all(tmp_path, cache):
    model, dataset = fakes.FakeModel(fakes.specs(), noise=0.1), fakes.dataset()
    asked = {"metrics": "diversity/conditional,relatedness"}
    one, two = (run(model, dataset, tmp_path, cache, seed=seed, **asked)[0] for seed in (4, 5))
    drawn, computed = "diversity/conditional/mean", "relatedness/auc/mean"
    assert (one[drawn].seed, two[drawn].seed) == (4, 5) and one[drawn].value != two[drawn].value
    assert one[computed].seed is None and one[computed].value == two[computed].value


def test_a_damaged_results_file_is_replaced(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("{half of")
    write_results(path, {"x": Result(value=float("nan"))}, {})
    assert json.loads(path.read_text())["x"]["value"] is None
    assert [item.name for item in tmp_path.iterdir()] == ["results.json"]


def test_merging_keeps_what_is_there(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, {"bound/test": Result(value=-1.0, n=3)}, {"probe": "no labels"})
    write_results(path, {"seconds/train": Result(value=9.0)}, {}, merge=True)
    found = load_results(path)
    assert {name: result.value for name, result in found.items()} == {
        "bound/test": -1.0,
        "seconds/train": 9.0,
    }
    assert json.loads(path.read_text())["skipped"] == {"probe": "no labels"}
    assert load_results(tmp_path / "none.json") == {}


def test_what_is_measured_again_replaces_all_that_its_metric_gave(tmp_path):
    def of(metric, *names):
        return {name: Result(value=1.0, metric=metric) for name in names}

    path = tmp_path / "results.json"
    first = of("probe", "probe/shared/mean", "probe/private/mean") | of("", "probe/old")
    later = "takes longer"
    reasons = dict.fromkeys(("probe/joint", "retrieval", "retrieval/precision", "cca"), later)
    write_results(path, first, reasons | {"probe/private/m": "no code", "information": later})
    second = of("probe", "probe/shared/mean") | of("retrieval", "retrieval/recall@1/mean")
    missing = {"probe/private/mean": "no private codes", "information": "a mixture"}
    write_results(path, second, missing, merge=True)
    assert set(load_results(path)) == {*second, "probe/old"}
    skipped = {"probe/joint": later, "cca": later, **missing}
    assert json.loads(path.read_text())["skipped"] == skipped
    # What cannot be measured this time keeps its numbers of the same step.
    write_results(path, {}, {"retrieval": "no weights", "cca": "no captions"}, merge=True)
    assert set(load_results(path)) == {*second, "probe/old"}
    assert json.loads(path.read_text())["skipped"] == skipped | {"cca": "no captions"}


def test_the_time_of_some_metrics_is_not_that_of_the_evaluation(monkeypatch, tmp_path):
    for name in registry.METRICS:
        metric = functools.partial(lambda name, context: {f"{name}/x": Result(value=1.0)}, name)
        monkeypatch.setitem(registry.METRICS, name, metric)
    model, variables, dataset = fakes.FakeModel(fakes.specs()), fakes.variables(), fakes.dataset()
    times = []
    for metrics in ("cca, probe", "", "retrieval"):
        config = {"evaluation": {"metrics": metrics}}
        evaluate(model, variables, dataset, config, tmp_path, step=7)
        stored = json.loads((tmp_path / "results.json").read_text())
        times.append(stored["seconds/evaluate"])
        assert not {name for name in METRICS if f"{name}/x" in stored} & stored["skipped"].keys()
    assert times[0]["how"] == "wall clock of cca, probe alone"
    assert times[1]["how"] == "wall clock, training of the classifiers included"
    assert times[2] == times[1]
    assert stored["retrieval/x"]["metric"] == "retrieval" and "bound/test/x" in stored


def test_results_of_another_step_are_not_given(tmp_path, caplog):
    path = tmp_path / "results.json"
    assert results_at(path, 7) == ({}, "")
    write_results(path, {"seconds/train": Result(value=9.0)}, {})
    assert set(results_at(path, 7)[0]) == {"seconds/train"} and not caplog.records
    measured = {"bound/test": Result(value=-1.0), "seconds/evaluate": Result(value=2.0)}
    write_results(path, measured, {})
    found, reason = results_at(path, 7)
    assert set(found) == {"seconds/train"} and "an unknown step" in reason
    write_results(path, {**measured, "step": Result(value=7.0)}, {})
    for step in (7, None):
        found, reason = results_at(path, step)
        assert set(found) == {*measured, "step", "seconds/train"} and reason == ""
    caplog.clear()
    found, reason = results_at(path, 3)
    assert set(found) == {"seconds/train"}
    assert reason.startswith("results.json was measured at step 7, and this is step 3: ")
    assert "--mode=evaluate --step=3" in reason
    assert [reason in record.getMessage() for record in caplog.records] == [True]


def test_validation_bound_is_repeatable_and_exact():
    dataset = fakes.dataset()
    validate = validation_bound(fakes.FakeModel(fakes.specs()), dataset, CONFIG)
    found = validate(fakes.variables(), 0)
    assert found == {"bound/validation": pytest.approx(fakes.bound_of(3), abs=1e-5)}
    assert validate(fakes.variables(), 5) == found


def test_without_a_likelihood_there_is_no_validation_bound():
    class NoDensity(fakes.FakeModel):
        def log_weights(self, *args):
            raise NotImplementedError("it has no p(z)")

    validate = validation_bound(NoDensity(fakes.specs()), fakes.dataset(), CONFIG)
    assert validate(fakes.variables(), 0) == {}


def test_results_survive_json():
    result = Result(values=np.array([[1.0, np.nan]]), standard_error=np.array([[0.1, np.nan]]))
    assert "seed" not in result.to_json() and Result.from_json(result.to_json()).seed is None
    again = dataclasses.replace(result, seed=3)
    again = Result.from_json(json.loads(json.dumps(again.to_json())))
    assert again.seed == 3
    np.testing.assert_array_equal(again.values, [[1.0, np.nan]])
    with pytest.raises(ValueError, match="value or values"):
        Result()
    assert issubclass(NotApplicable, Exception)
