from __future__ import annotations

import io
import json

import jax
import numpy as np
import pytest

from mmvae_jax.training import NonFiniteLoss, check, metric_writer, restore_variables
from mmvae_jax.training.progress import Progress
from mmvae_jax.types import UserError
from tests.training import tiny

TIMES = ("examples_per_second", "data_wait_fraction")


def lines(workdir):
    """Logged lines without what the clock decides."""
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in metric_writer.read(workdir)
    ]


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of three epochs of six steps."""
    workdir = tmp_path_factory.mktemp("whole")
    before = tiny.LinearVAE.traces
    result = tiny.run(workdir)
    return workdir, result, tiny.LinearVAE.traces - before


def test_a_run_makes_its_steps_and_learns(whole):
    workdir, result, traces = whole
    assert traces == 1
    assert result.steps == int(result.state.step) == 18
    assert result.seconds > 0
    logged = lines(workdir)
    # Every four steps, and where an epoch ends.
    assert [line["step"] for line in logged] == [4, 6, 8, 12, 16, 18]
    assert [line["epoch"] for line in logged] == [0.6667, 1.0, 1.3333, 2.0, 2.6667, 3.0]
    assert set(logged[0]) == {
        "step", "epoch", "loss", "elbo", "kl/shared", "log_px/a", "log_px/b",
    }  # fmt: skip
    assert logged[-1]["loss"] < logged[0]["loss"]
    assert list(workdir.glob("events.out.tfevents.*"))


def test_a_finished_run_is_returned_as_it_is(whole):
    workdir, result, _ = whole
    traces = tiny.LinearVAE.traces
    before = (workdir / "metrics.jsonl").read_bytes()
    again = tiny.run(workdir)
    assert tiny.LinearVAE.traces == traces
    assert again.steps == 18
    assert_equal(again.state, result.state)
    assert (workdir / "metrics.jsonl").read_bytes() == before


class Stop(Exception):
    pass


def _stop_at(step):
    def validate(variables, at):
        if at == step:
            raise Stop
        return {}

    return validate


def test_resume_equals_the_uninterrupted_run_bit_for_bit(whole, tmp_path):
    workdir, result, _ = whole
    with pytest.raises(Stop):
        tiny.run(tmp_path, validate=_stop_at(12))
    assert lines(tmp_path)[-1]["step"] == 8  # Beyond the checkpoint of step 6.
    resumed = tiny.run(tmp_path)
    assert_equal(resumed.state, result.state)
    assert lines(tmp_path) == lines(workdir)


def test_epochs_may_be_added(tmp_path):
    short = tiny.run(tmp_path / "a", num_epochs=1, **{"optimizer.schedule": "constant"})
    longer = tiny.run(tmp_path / "a", num_epochs=2, **{"optimizer.schedule": "constant"})
    straight = tiny.run(tmp_path / "b", num_epochs=2, **{"optimizer.schedule": "constant"})
    assert (short.steps, longer.steps) == (6, 12)
    assert_equal(longer.state, straight.state)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_a_run_in_set_proportions_resumes_bit_for_bit(tmp_path):
    changes = {
        "training.batch_mix": {"complete": 4, "a": 1, "b": 3},
        "training.steps_per_epoch": 5,
        "num_epochs": 2,
    }
    whole = tiny.run(tmp_path / "whole", gaps=True, **changes)
    assert whole.steps == 10
    logged = lines(tmp_path / "whole")
    assert [(line["step"], line["epoch"]) for line in logged] == [
        (4, 0.8), (5, 1.0), (8, 1.6), (10, 2.0),
    ]  # fmt: skip
    with pytest.raises(Stop):
        tiny.run(tmp_path / "cut", gaps=True, validate=_stop_at(10), **changes)
    resumed = tiny.run(tmp_path / "cut", gaps=True, **changes)
    assert_equal(resumed.state, whole.state)
    assert lines(tmp_path / "cut") == logged


def test_a_group_without_rows_is_found_before_anything_is_written(tmp_path):
    config = tiny.config(**{"training.batch_mix": {"complete": 4, "c": 4}})
    said = r"batch_mix.c: .* they have complete \(5 rows\), a \(22 rows\), b \(23 rows\)"
    with pytest.raises(UserError, match=said):
        check(tiny.LinearVAE(), tiny.dataset(gaps=True), config)
    with pytest.raises(UserError, match=said):
        tiny.run(tmp_path, gaps=True, **{"training.batch_mix": {"complete": 4, "c": 4}})
    assert not list(tmp_path.iterdir())


def test_validation_is_logged_and_decides_the_best_step(tmp_path):
    scores = {3: 1.0, 6: 5.0, 9: float("nan"), 12: 2.0, 15: 3.0, 18: 4.0}
    seen = {}

    def validate(variables, step):
        seen[step] = jax.device_get(variables)
        return {"bound/validation": scores[step]}

    tiny.run(tmp_path, validate=validate, **{"training.checkpoint_every": 3})
    logged = {line["step"]: line.get("bound/validation") for line in lines(tmp_path)}
    assert logged == {3: 1.0, 4: None, 6: 5.0, 8: None, 9: None, 12: 2.0, 15: 3.0, 16: None, 18: 4}
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {6, 15, 18}
    best, step = restore_variables(tmp_path, seen[6], step="best")
    assert step == 6
    assert_equal(best, seen[6])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            tiny.LinearVAE(break_at=10),
            r"non-finite loss at step 10: term log_px/b is nan \(modality b\), as are elbo, loss",
        ),
        (
            tiny.LinearVAE(break_gradient_at=10),
            r"non-finite gradient at step 10: that of parameter decoder/b \(modality b\)",
        ),
    ],
)
def test_non_finite_step_stops_the_run_and_keeps_the_last_good_state(tmp_path, model, message):
    with pytest.raises(NonFiniteLoss, match=message) as error:
        tiny.run(tmp_path / "bad", model)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, UserError)
    assert [line["step"] for line in lines(tmp_path / "bad")] == [4, 6, 8, 10]
    # Ten good updates: as many as a run of good steps makes until then.
    seen = {}
    good = tiny.run(
        tmp_path / "good",
        validate=lambda variables, step: seen.update({step: jax.device_get(variables)}) or {},
        **{"training.checkpoint_every": 10},
    )
    kept, step = restore_variables(tmp_path / "bad", good.state.variables)
    assert step == 10
    assert_equal(kept, seen[10])
    with pytest.raises(NonFiniteLoss, match="at step 10"):
        tiny.run(tmp_path / "bad", model)


def test_fewer_examples_than_a_batch(tmp_path):
    result = tiny.run(tmp_path, num_examples=5, num_epochs=4)
    assert result.steps == 4
    assert np.isfinite(lines(tmp_path)[-1]["loss"])


def test_empty_training_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="training split is empty"):
        tiny.run(tmp_path, num_examples=0)


def test_metric_lines_beyond_the_step_and_broken_ones_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "loss": 1.0}\n{"step": 4, "loss": 2.0}\n{"step": 6, "lo')
    with metric_writer.MetricWriter(tmp_path, 2) as writer:
        writer.write(4, {"loss": float("inf"), "elbo": 3.0})
        assert len(path.read_text().splitlines()) == 2  # On disk before it is closed.
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 2, "loss": 1.0},
        {"step": 4, "loss": None, "elbo": 3.0},
    ]


def test_progress_without_a_terminal_is_plain_lines():
    stream = io.StringIO()
    with Progress(100, 0, stream=stream) as progress:
        for step in range(10, 101, 10):
            progress.update(step, 1.5)
    shown = stream.getvalue().splitlines()
    # The first and the last; those between come too soon after the first.
    assert [line.split("  ")[0] for line in shown] == ["step 10/100", "step 100/100"]
    assert "\r" not in stream.getvalue()


def test_progress_on_a_terminal_is_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Progress(10, 4, stream=stream) as progress:
        progress.update(10, 1.5)
    assert "10/10" in stream.getvalue() and "loss=1.5" in stream.getvalue()
