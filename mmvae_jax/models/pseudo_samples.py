"""Learnable examples of a modality, as its encoder takes them (Tomczak & Welling, 2018).

The parameters are free numbers; what the encoder sees of them are pixels in [0, 1], points of the
simplex for classes and tokens, and real vectors as they are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.types import Array, ModalitySpec, PRNGKey

STARTS = ("data", "noise")
_SPREAD = {"data": 0.1, "noise": 1.0}  # standard deviation of the noise on the free numbers
_MARGIN = 0.05  # how far from 0 and 1 copies of data start, so that they can still move


def inputs(spec: ModalitySpec, free: Array) -> Array:
    """What the encoder sees of free numbers [N, *shape] (or [N, *shape, classes]), that shape."""
    if spec.num_classes:
        return jax.nn.softmax(free, axis=-1)
    return jax.nn.sigmoid(free) if _bounded(spec) else free


def initial(
    rng: PRNGKey, spec: ModalitySpec, x: Array, present: Array, count: int, start: str
) -> Array:
    """Free numbers [count, *shape] (or [count, *shape, classes]) to begin with.

    Args:
      rng: key.
      spec: the modality.
      x: a batch of encoder inputs [B, ...]; its rows are used in turn.
      present: which rows there are, bool [B].
      count: N.
      start: ``data``, the rows with a little noise, or ``noise``: grey pixels, uncertain classes
        and standard normal vectors. Rows that are not there start as grey with a little noise.
    """
    noise = _SPREAD[start] * jax.random.normal(rng, (count, *x.shape[1:]))
    if start == "noise":
        return noise
    rows = np.arange(count) % x.shape[0]
    here = present[rows].reshape(-1, *(1,) * (x.ndim - 1))
    return jnp.where(here, _free(spec, x)[rows], 0.0) + noise


def _bounded(spec: ModalitySpec) -> bool:
    return spec.dtype in ("uint8", "bool")


def _free(spec: ModalitySpec, x: Array) -> Array:
    """The inverse of `inputs`, with data moved off the borders."""
    if spec.num_classes:
        return jnp.log((1.0 - _MARGIN) * x + _MARGIN / spec.num_classes)
    if _bounded(spec):
        return jax.scipy.special.logit(jnp.clip(x, _MARGIN, 1.0 - _MARGIN))
    return x
