"""The real command in several processes, on several devices, and killed: always the same run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from mmvae_jax import inference
from mmvae_jax.training import metric_writer
from tests.conftest import TINY_FLAGS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
STEPS = 24
TIMES = ("examples_per_second", "data_wait_fraction")
SMALL = (
    *TINY_FLAGS,
    "--config.num_epochs=6",
    "--config.model.network=mlp",
    # Smooth densities: the gradient of |x - mean| jumps, and one pixel on the other side of its
    # jump, by rounding, changed a loss by 1e-4 fourteen steps on.
    "--config.model.likelihood=normal",
    "--config.model.latent=normal",
    # Adam's first steps follow the sign of a gradient, however small: at 2e-3 what rounding does to
    # one of them reached 1e-4 of the loss after fourteen steps.
    "--config.optimizer.learning_rate=5e-4",
    "--config.training.log_every=2",
    "--config.evaluation.figures=False",
)
SECONDS = 600  # of one command, beside another one on two cores


def command(workdir: Path) -> list[str]:
    return [sys.executable, "-m", "mmvae_jax.main", *SMALL, f"--workdir={workdir}"]


def launched(workdir: Path, num_processes: int) -> list[str]:
    launcher = [sys.executable, "launch/local.py", f"--num_processes={num_processes}"]
    return [*launcher, "--", *SMALL, f"--workdir={workdir}"]


def environment(devices: int = 1) -> dict[str, str]:
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }


def finish(arguments: list[str], devices: int = 1) -> str:
    """Runs to the end and gives what was printed."""
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of one process on one device, through the launcher."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    finish(launched(workdir, 1))
    return workdir


def lines(workdir: Path) -> list[dict[str, float]]:
    """What was logged, but for what the clock decides."""
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in metric_writer.read(workdir)
    ]


# Rows of every kind in set numbers, total correlation over the batch, and draws of concretes.
PARTIAL = (
    "--config=configs/dmvae_hybrid.py",
    *SMALL[1:],
    "--config.training.steps_per_epoch=4",
    "--config.data.partial=paired",
    "--config.data.observed=0.5",
    "--config.training.batch_mix={'complete': 6, 'm0': 4, 'm1': 3, 'm2': 3}",
    "--config.model.shared_dim=2",
    "--config.objective.beta_tc=3.0",
    "--config.evaluation.metrics=bound/test",
)


def assert_same_losses(workdir: Path, other: Path) -> None:
    """Sums in another order: equal to rounding at first, which the optimizer then carries on."""
    left, right = lines(workdir), lines(other)
    assert [line["step"] for line in left] == list(range(2, STEPS + 1, 2))
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4), a["step"]
        # What partly cancels in the loss is compared on its scale.
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4 * abs(b["loss"])), a["step"]
    assert left[0] == pytest.approx(right[0], rel=1e-5)


def results(workdir: Path) -> dict[str, np.ndarray]:
    """The numbers of results.json, but for what the clock decides."""
    found = json.loads((workdir / "results.json").read_text())
    return {
        name: np.asarray(result["values"] if "values" in result else result["value"], float)
        for name, result in found.items()
        if isinstance(result, dict) and not name.startswith("seconds/")
        if "value" in result or "values" in result
    }


def test_two_processes_equal_one(whole, tmp_path):
    workdir = tmp_path / "run"
    assert "[0] " in finish(launched(workdir, 2))
    assert_same_losses(workdir, whole)
    found, expected = results(workdir), results(whole)
    assert found.keys() == expected.keys() and "bound/test" in found
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-6, err_msg=name)


def test_eight_devices_equal_one(whole, tmp_path):
    workdir = tmp_path / "run"
    finish(command(workdir), devices=8)
    assert_same_losses(workdir, whole)


def test_eight_devices_equal_one_on_partial_data_in_set_proportions(tmp_path):
    one, eight = tmp_path / "one", tmp_path / "eight"
    for workdir, devices in ((one, 1), (eight, 8)):
        arguments = [sys.executable, "-m", "mmvae_jax.main", *PARTIAL, f"--workdir={workdir}"]
        finish(arguments, devices=devices)
    assert_same_losses(eight, one)
    found, expected = results(eight), results(one)
    assert found.keys() == expected.keys() and "bound/test" in found
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-6, err_msg=name)


def test_killed_in_the_middle_and_started_again_equals_the_uninterrupted_run(whole, tmp_path):
    workdir = tmp_path / "run"
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen(
            command(workdir), cwd=ROOT, env=environment(), stdout=printed, stderr=printed
        )
        deadline = time.monotonic() + SECONDS
        # After the first checkpoint: what is beyond the newest one has to be made again.
        while not logged(workdir) > STEPS // 6:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert STEPS // 6 < logged(workdir) < STEPS
    assert not (workdir / "results.json").exists()

    finish(command(workdir))
    assert lines(workdir) == lines(whole)
    left, right = (inference.load(path) for path in (workdir, whole))
    assert left.step == right.step == STEPS
    jax.tree.map(np.testing.assert_array_equal, left.variables, right.variables)
    found, expected = results(workdir), results(whole)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def logged(workdir: Path) -> int:
    """The last step whose line is whole; 0 before there is one."""
    path = workdir / metric_writer.FILE
    text = path.read_text() if path.exists() else ""
    whole_lines = text[: text.rfind("\n") + 1].splitlines()
    return json.loads(whole_lines[-1])["step"] if whole_lines else 0
