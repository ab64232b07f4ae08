"""Runs in processes of their own: killed ones, ones with several devices, and several at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from launch import local
from mmvae_jax.training import metric_writer, restore_variables
from tests.training import tiny
from tests.training.test_loop import assert_equal, lines

SECONDS = 120


def _train(workdir, *arguments, devices=1):
    return subprocess.run(
        [sys.executable, "-m", "tests.training.tiny", f"--workdir={workdir}", *arguments],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run in a process of its own."""
    workdir = tmp_path_factory.mktemp("whole")
    done = _train(workdir)
    assert done.returncode == 0, done.stderr
    return workdir


def _variables(workdir):
    model = tiny.LinearVAE()
    batch = {"x": tiny.dataset().splits["train"].x}
    target = jax.eval_shape(model.init, jax.random.key(0), batch)
    return restore_variables(workdir, target)


def _assert_close(workdir, other):
    left, right = lines(workdir), lines(other)
    assert [line["step"] for line in left] == [line["step"] for line in right]
    for a, b in zip(left, right, strict=True):
        assert set(a) == set(b)
        np.testing.assert_allclose([a[k] for k in a], [b[k] for k in a], rtol=1e-5)


def test_resume_after_kill_equals_the_uninterrupted_run(whole, tmp_path):
    killed = _train(tmp_path, "--kill_at=12")
    assert killed.returncode == -signal.SIGKILL
    assert metric_writer.read(tmp_path)[-1]["step"] == 8
    done = _train(tmp_path)
    assert done.returncode == 0, done.stderr
    assert _variables(tmp_path)[1] == 18
    assert_equal(_variables(tmp_path), _variables(whole))
    assert lines(tmp_path) == lines(whole)


def test_eight_devices_equal_one(whole, tmp_path):
    done = _train(tmp_path, devices=8)
    assert done.returncode == 0, done.stderr
    assert "devices 8" in done.stdout
    _assert_close(tmp_path, whole)


@pytest.mark.parametrize(("road", "read"), [("auto", "[]"), ("host", "[4]")])
def test_two_processes_equal_one_and_leave_a_checkpoint_for_one(whole, tmp_path, capfd, road, read):
    arguments = [f"--workdir={tmp_path}", f"--data={road}"]
    status = local.main(["--num_processes=2", "--module=tests.training.tiny", "--", *arguments])
    shown = capfd.readouterr().out
    assert status == 0, shown
    assert "[0] devices 2" in shown and "[1] devices 2" in shown
    # Of the eight rows of a batch each process reads its four.
    for process in (0, 1):
        assert f"[{process}] rows of a batch read at once: {read}" in shown
    _assert_close(tmp_path, whole)
    variables, step = _variables(tmp_path)
    assert step == 18
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        variables,
        _variables(whole)[0],
    )
    # One process goes on where two ended.
    done = _train(tmp_path, "--num_epochs=4", f"--data={road}")
    assert done.returncode == 0, done.stderr
    assert _variables(tmp_path)[1] == 24


def test_when_one_process_dies_the_other_is_stopped(tmp_path, capfd):
    status = local.main(
        ["--module=tests.training.tiny", "--", f"--workdir={tmp_path}", "--fail_at=6"]
    )
    assert status == 3, capfd.readouterr().out
