"""Strict settings for every test, and the fixtures that several of them use."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from configs import mmvae_plus
from mmvae_jax import data, runner

# Shapes and dtypes that only fit by silent promotion are mistakes here.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Nearly all of the suite's time is compilation of programs that run once.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True, scope="session")
def no_files_of_the_user(tmp_path_factory):
    """Hides the folders where downloaded data sets and trained judges lie."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data_home")))
        patch.setenv("MMVAE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def debug_nans():
    """Makes a NaN anywhere inside a computation an error, for tests where none may occur."""
    with jax.debug_nans(True):
        yield


@pytest.fixture
def generator():
    """NumPy random numbers, the same in every run."""
    return np.random.default_rng(20240607)


TINY_DATA = {"num_train": 64, "num_validation": 16, "num_test": 24}
# A short run as flags of a command line.
TINY_FLAGS = (
    "--config=configs/mmvae_plus.py",
    *(f"--config.data.{name}={count}" for name, count in TINY_DATA.items()),
    "--config.batch_size=16",
    "--config.evaluation.batch_size=16",
    "--config.evaluation.bound_samples=2",
    "--config.evaluation.likelihood_samples=2",
    "--config.evaluation.probe_train=40",
    "--config.evaluation.classifier_epochs=1",
)


def tiny_config() -> dict:
    """The default config, shortened to a few steps of a small network."""
    config = mmvae_plus.get_config().to_dict()
    config["num_epochs"], config["batch_size"] = 2, 16
    config["data"].update(TINY_DATA)
    config["model"].update(shared_dim=4, private_dim=2)
    config["model"]["network_options"]["conv"] = {"width": 4, "hidden": 16}
    config["training"]["log_every"] = 3
    config["evaluation"].update(
        batch_size=16,
        bound_samples=2,
        likelihood_samples=2,
        probe_train=40,
        classifier_epochs=1,
        figures=False,
    )
    return config


@pytest.fixture(scope="session")
def tiny_data():
    """The data set of `tiny_run`."""
    return data.load("polydigits", {**TINY_DATA, "num_modalities": 3}, seed=0)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The workdir of a run of `tiny_config`: trained and evaluated, without figures."""
    workdir = tmp_path_factory.mktemp("tiny") / "run"
    runner.train(tiny_config(), workdir, command="a test")
    return workdir
