"""The command line as a user meets it: processes, exit statuses, and what they print."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from mmvae_jax import command_line, configuration, main
from tests.conftest import TINY_FLAGS
from tests.data.fake_mnist import write_mnist

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    *TINY_FLAGS,
    "--config.num_epochs=2",
    "--config.model.network_options.conv.width=4",
    "--config.model.network_options.conv.hidden=16",
)


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "mmvae_jax.main", *arguments],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def refused(*arguments: str) -> str:
    """The one line that a refused command prints."""
    done = run(*arguments)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def refused_here(monkeypatch, capsys):
    """The same of the entry point in this process, which takes no time to start."""

    def refused_here(*arguments: str) -> str:
        with flagsaver.flagsaver(), monkeypatch.context() as patch:
            patch.setattr(main.runtime, "configure", lambda: None)
            patch.setattr(main.app, "run", lambda start, flags_parser: start(flags_parser(argv)))
            argv = ["main.py", *arguments]
            patch.setattr(sys, "argv", argv)
            with pytest.raises(SystemExit) as ended:
                main.run()
        shown = capsys.readouterr().err
        assert ended.value.code == 2, shown
        lines = [line for line in shown.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and shown.endswith(f"{lines[0]}\n"), shown
        return lines[0]

    yield refused_here
    logging.getLogger("mmvae_jax").setLevel(logging.NOTSET)


@pytest.fixture
def origin(monkeypatch):
    """The config of a command line, and where it comes from."""

    def origin(*arguments):
        argv = ["main.py", *arguments]
        monkeypatch.setattr(sys, "argv", argv)  # where overrides are looked for
        with flagsaver.flagsaver():
            command_line.parse(argv)
            return flags.FLAGS.config.to_dict(), command_line.origin(argv)

    return origin


def test_what_the_argument_of_a_config_picks_is_told_from_flags(origin, tmp_path):
    picked = "--config=configs/mmvae_plus.py:dataset=polymnist,networks=small"
    config, known = origin(picked, "--config.seed=4")
    differs = configuration.changed(config, known["defaults"])
    assert differs["data.name"] == "polydigits" and differs["seed"] == 0
    assert configuration.changed(config, known["picked"]) == {"seed": 0}
    # A file that takes no argument, and one that needs it.
    for line, argument in (("def get_config():", ""), ("def get_config(arg):", ":x")):
        file = tmp_path / f"own{len(argument)}.py"
        made = "from ml_collections import ConfigDict"
        file.write_text(f"{made}\n{line}\n    return ConfigDict({{'seed': 1}})\n")
        config, known = origin(f"--config={file}{argument}", "--config.seed=2")
        assert (config, known["defaults"], known["picked"]) == (
            {"seed": 2},
            {"seed": 1},
            {"seed": 1},
        )


@pytest.mark.slow
def test_the_default_job_from_data_to_pictures_and_back(tmp_path):
    """Shortened: train, run again, evaluate, impute, sample, and refuse another config's run."""
    workdir = tmp_path / "run"
    first = run(*SMALL, f"--workdir={workdir}")
    assert first.returncode == 0, first.stderr[-3000:]
    assert "coherence" in first.stdout
    results = json.loads((workdir / "results.json").read_text())
    for name in (
        "coherence/conditional/mean",
        "coherence/unconditional",
        "classifier/accuracy/mean",
        "probe/shared/mean",
        "probe/private/mean",
        "bound/test",
        "seconds/train",
        "seconds/evaluate",
    ):
        assert np.isfinite(results[name]["value"]), name
    assert np.shape(results["coherence/conditional/matrix"]["values"]) == (3, 3)
    figures = sorted((workdir / "figures").glob("*.png"))
    assert len(figures) >= 6
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in figures)

    page = (workdir / "report.html").read_text()
    assert page.count("<figure>") == len(figures) and "python -m mmvae_jax.main --config" in page
    made = json.loads((workdir / "config.json").read_text())
    assert made["changed"]["batch_size"] == 64 and "seed" not in made["changed"]
    assert "batch_size" in made["flags"] and "seed" not in made["flags"]

    metrics = (workdir / "metrics.jsonl").read_text()
    again = run(*SMALL, f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr[-3000:]
    assert (workdir / "metrics.jsonl").read_text() == metrics  # nothing was trained twice
    assert json.loads((workdir / "results.json").read_text())["bound/test"] == results["bound/test"]

    line = refused(*SMALL, "--config.seed=5", f"--workdir={workdir}")
    assert "config.seed was 0, is 5" in line
    assert (workdir / "metrics.jsonl").read_text() == metrics

    pictures = np.zeros((3, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "views.npz", m0=pictures)
    done = run(
        "--mode=impute",
        f"--workdir={workdir}",
        f"--input={tmp_path / 'views.npz'}",
        f"--output={tmp_path / 'filled.npz'}",
        "--num_samples=4",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "filled.npz", allow_pickle=False) as filled:
        assert {"m0", "m1", "m2", "shared__embedding", "joint__log_likelihood"} < set(filled.files)
        np.testing.assert_array_equal(filled["m0"], pictures)
    done = run(
        "--mode=sample", f"--workdir={workdir}", f"--output={tmp_path / 's.npz'}", "--num_samples=5"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "s.npz", allow_pickle=False) as drawn:
        assert drawn["m2"].shape == (5, 16, 16, 3)

    assert "exists already" in refused(
        "--mode=sample", f"--workdir={workdir}", f"--output={tmp_path / 's.npz'}"
    )

    done = run(
        "--config=configs/mmvae_plus.py",
        "--mode=evaluate",
        f"--workdir={workdir}",
        "--config.evaluation.num_examples=10",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    after = json.loads((workdir / "results.json").read_text())
    assert after["bound/test"]["n"] == 10  # what was asked for, and the rest as the run has it
    assert "K = 2" in after["bound/test"]["how"]
    assert after["seconds/train"] == results["seconds/train"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--config=configs/mmvae_plus.py", "--config.optimizer.learnin_rate=1"), "learning_rate"),
        (("--config=configs/mmvae_plus.py", "--config.batch_size=many"), "batch_size"),
        (("--config=configs/mmvae_plus.py", "--config.objective.num_samples=0"), "at least 1"),
        (("--config=configs/mmvae_plus.py:dataset=polymnst",), "did you mean 'polymnist'"),
        (("--config=configs/mmvae_minus.py",), "mmvae_minus.py"),
        ((), "needs --config"),
        (("--mode=impute", "--workdir=runs/none", "--output=x.npz"), "needs --input"),
        (("--mode=evaluate", "--workdir=no_such_run"), "holds no run"),
        (("--mode=dance",), "train"),
        (("--config=configs/mmvae_plus.py", "--config.optimizer.warmup_steps=999999"), "warmup"),
        (("--confg=x",), "confg"),
        (("--config", "configs/mmvae_plus.py", "--config.sed=1"), "did you mean 'config.seed'"),
        (("--config=configs/mmvae_plus.py", "--config.model.shared_dim=0"), "shared code"),
        (("--config=configs/mmvae_plus.py", "--config.objective.estimator=dregs"), "'dreg'"),
        (
            ("--config=configs/mmvae_plus.py", "--config.training.batch_mix.complete=64"),
            "--config.training.batch_mix={'complete': ...}",
        ),
        (("--mode=sample", "--output=x.npz", "--num_samples=0"), "num_samples"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, refused_here, arguments, said):
    named = any(argument.startswith("--workdir") for argument in arguments)
    workdir = () if named else (f"--workdir={tmp_path / 'run'}",)
    assert said in refused_here(*arguments, *workdir)
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_bad_input_is_one_line_and_status_2_of_the_process(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    line = refused("--config=configs/mmvae_plus.py", "--config.batch_size=many", workdir)
    assert "batch_size" in line
    assert "confg" in refused("--confg=x", workdir)
    assert not list(tmp_path.iterdir())


# --- a run that cannot be evaluated; in this process, which has JAX already ----------------------


@pytest.fixture
def damaged(tiny_run, tmp_path):
    """A copy of a run, to be damaged."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def _no_checkpoints(folder):
    shutil.rmtree(folder)


def _no_checkpoint(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def _cut_short(folder):
    for step in folder.iterdir():
        files = [path for path in (step / "variables").rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def _other_bytes(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"not what was saved")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_checkpoints, "holds no checkpoints: train there first"),
        (_no_checkpoint, "holds no checkpoint yet: train there first"),
        (_cut_short, "is damaged"),
        (_other_bytes, "is damaged"),
    ],
)
def test_a_run_without_a_whole_checkpoint_is_refused(damaged, refused_here, damage, said):
    damage(damaged / "checkpoints")
    before = (damaged / "results.json").read_bytes()
    line = refused_here("--mode=evaluate", f"--workdir={damaged}")
    assert said in line and str(damaged) in line
    assert (damaged / "results.json").read_bytes() == before


def test_a_step_that_is_missing_or_damaged_is_named(damaged, refused_here):
    arguments = ("--mode=evaluate", f"--workdir={damaged}")
    line = refused_here(*arguments, "--step=999")
    assert "holds no checkpoint of step 999: it has " in line
    step = line.rpartition(" ")[2]
    _cut_short(damaged / "checkpoints")
    line = refused_here(*arguments, f"--step={step}")
    assert f"checkpoint {damaged}/checkpoints/{step} is damaged" in line
    assert line.endswith("choose another step")


def test_a_data_folder_without_the_files_names_them(tmp_path):
    line = refused(
        "--config=configs/mmvae_plus.py:dataset=polymnist",
        f"--config.data.dir={tmp_path}",
        "--config.data.download=false",
        f"--workdir={tmp_path / 'run'}",
    )
    assert "train-images-idx3-ubyte" in line and "download" not in line
    assert not (tmp_path / "run").exists()


def test_without_a_connection_the_files_wanted_are_named(tmp_path, monkeypatch):
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")  # where nobody listens
    line = refused(
        "--config=configs/mmvae_plus.py:dataset=mnist_svhn",
        f"--config.data.dir={tmp_path / 'sets'}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert "cannot be reached" in line
    assert "t10k-images-idx3-ubyte.gz, t10k" in line and f"in {tmp_path}/sets/mnist" in line
    assert "test_32x32.mat" in line and f"in {tmp_path}/sets/svhn" in line
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    line = refused(*SMALL, f"--workdir={tmp_path / 'file'}")
    assert "is a file" in line
    assert (tmp_path / "file").read_text() == "mine"


POLYMNIST = ("--config=configs/mmvae_plus.py:dataset=polymnist", "--config.data.download=false")


@pytest.mark.parametrize("missing", [4, 28 * 28])
def test_a_truncated_idx_file(tmp_path, refused_here, missing):
    path = write_mnist(tmp_path / "mnist") / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-missing])
    folders = (f"--config.data.dir={path.parent}", f"--workdir={tmp_path / 'run'}")
    line = refused_here(*POLYMNIST, *folders)
    assert str(path) in line and "bytes" in line
    assert not (tmp_path / "run").exists()


def test_a_truncated_picture_of_the_published_folder(tmp_path, refused_here):
    for part, digit, m in itertools.product(("train", "test"), range(2), range(2)):
        folder = tmp_path / "data" / part / f"m{m}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(m).integers(0, 255, (28, 28, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"0.{digit}.png")
    path = tmp_path / "data" / "train" / "m1" / "0.1.png"
    path.write_bytes(path.read_bytes()[:-1000])
    line = refused_here(
        *POLYMNIST,
        "--config.data.num_modalities=2",
        "--config.data.num_validation=1",
        f"--config.data.dir={tmp_path / 'data'}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert str(path) in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("below", "said"), [("", "lies below one"), ("/proc/1/none", "")])
def test_a_workdir_that_cannot_be_made(tmp_path, refused_here, below, said):
    (tmp_path / "file").write_text("mine")
    workdir = Path(below or tmp_path / "file") / "run"
    line = refused_here(*SMALL, f"--workdir={workdir}")
    assert f"workdir {workdir}" in line and said in line and "--workdir" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_fewer_rows_than_none(tmp_path, refused_here):
    config = ("--config=configs/mmvae_plus.py", "--config.data.num_train=-1")
    line = refused_here(*config, f"--workdir={tmp_path / 'run'}")
    assert "config.data.num_train = -1" in line and "at least 0" in line
    assert not list(tmp_path.iterdir())


def test_a_likelihood_of_what_is_no_modality_is_refused_before_training(tmp_path, refused_here):
    asked = "--config.evaluation.likelihood_sets=m0+m1|m7"
    line = refused_here(*TINY_FLAGS, asked, f"--workdir={tmp_path / 'run'}")
    assert "there is no modality 'm7', only m0, m1" in line
    assert not list(tmp_path.iterdir())
