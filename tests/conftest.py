"""Strict settings for every test, and the fixtures that several of them use."""

from __future__ import annotations

import jax
import numpy as np
import pytest

# Shapes and dtypes that only fit by silent promotion are mistakes here.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def debug_nans():
    """Makes a NaN anywhere inside a computation an error, for tests where none may occur."""
    with jax.debug_nans(True):
        yield


@pytest.fixture
def generator():
    """NumPy random numbers, the same in every run."""
    return np.random.default_rng(20240607)
