"""Inception-v3 as the Frechet inception distance knows it: images to pool3 features.

The network of Szegedy et al. (2016) as it was published for TensorFlow in December 2015, which FID
(Heusel et al. 2017) and KID (Binkowski et al. 2018) are defined by. It differs from the
Inception-v3 of today's libraries: 3x3 means at the border are over the pixels that exist, the last
block takes a maximum in place of a mean, and the classifier, which is not needed here, has 1008
outputs. Only in inference: batch normalisation is folded into the convolutions before it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation.classifiers import Classifier, as_float, in_batches
from mmvae_jax.types import Array, Variables

FEATURES = 2048  # of pool3
BATCH = 64  # images at once: the first layers take 20 MB each


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution, which folded batch normalisation and ReLU follow."""

    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


# Pools of 3x3 windows.
_mean = functools.partial(
    nn.avg_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME", count_include_pad=False
)
_maximum = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME")
_halved = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding="VALID")

# What follows each other: convolutions, pools, and pairs of convolutions of the same input, whose
# outputs are joined. A block is {name of a branch: such a chain}; its branches are joined too.
Step = Conv | tuple[Conv, Conv] | Callable[[Array], Array]
Block = dict[str, list[Step]]
_ACROSS, _DOWN = (1, 7), (7, 1)
_FORK = (Conv(384, (1, 3)), Conv(384, (3, 1)))


def _block_35(pooled: int) -> Block:
    return {
        "branch1x1": [Conv(64)],
        "branch5x5": [Conv(48), Conv(64, (5, 5))],
        "branch3x3dbl": [Conv(64), Conv(96, (3, 3)), Conv(96, (3, 3))],
        "branch_pool": [_mean, Conv(pooled)],
    }


def _block_17(inner: int) -> Block:
    across, down = Conv(inner, _ACROSS), Conv(inner, _DOWN)
    return {
        "branch1x1": [Conv(192)],
        "branch7x7": [Conv(inner), across, Conv(192, _DOWN)],
        "branch7x7dbl": [Conv(inner), down, across, down, Conv(192, _ACROSS)],
        "branch_pool": [_mean, Conv(192)],
    }


def _block_8(pool: Callable[[Array], Array]) -> Block:
    return {
        "branch1x1": [Conv(320)],
        "branch3x3": [Conv(384), _FORK],
        "branch3x3dbl": [Conv(448), Conv(384, (3, 3)), _FORK],
        "branch_pool": [pool, Conv(192)],
    }


_STEM: dict[str, Step] = {
    "Conv2d_1a_3x3": Conv(32, (3, 3), 2, "VALID"),
    "Conv2d_2a_3x3": Conv(32, (3, 3), 1, "VALID"),
    "Conv2d_2b_3x3": Conv(64, (3, 3)),
    "maxpool1": _halved,
    "Conv2d_3b_1x1": Conv(80),
    "Conv2d_4a_3x3": Conv(192, (3, 3), 1, "VALID"),
    "maxpool2": _halved,
}
_BLOCKS: dict[str, Block] = {
    "Mixed_5b": _block_35(32),
    "Mixed_5c": _block_35(64),
    "Mixed_5d": _block_35(64),
    "Mixed_6a": {
        "branch3x3": [Conv(384, (3, 3), 2, "VALID")],
        "branch3x3dbl": [Conv(64), Conv(96, (3, 3)), Conv(96, (3, 3), 2, "VALID")],
        "branch_pool": [_halved],
    },
    "Mixed_6b": _block_17(128),
    "Mixed_6c": _block_17(160),
    "Mixed_6d": _block_17(160),
    "Mixed_6e": _block_17(192),
    "Mixed_7a": {
        "branch3x3": [Conv(192), Conv(320, (3, 3), 2, "VALID")],
        "branch7x7x3": [
            Conv(192),
            Conv(192, _ACROSS),
            Conv(192, _DOWN),
            Conv(192, (3, 3), 2, "VALID"),
        ],
        "branch_pool": [_halved],
    },
    "Mixed_7b": _block_8(_mean),
    "Mixed_7c": _block_8(_maximum),
}


class InceptionV3(nn.Module):
    """[N, size, size, 3] in [-1, 1], of 75 pixels or more, to pool3 features [N, 2048].

    Its convolutions have the names of the published checkpoint: ``Mixed_5b.branch5x5_1``.

    Attributes:
      divisor: of every width; other than 1 only where a small network will do, in tests.
      size: height and width to which images are brought; as published but in tests.
    """

    divisor: int = 1
    size: int = 299

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The mean over places of what the last block gives."""
        for name, step in _STEM.items():
            x = self._step(name, step, x)
        for name, block in _BLOCKS.items():
            branches = [
                self._chain(f"{name}.{branch}", steps, x) for branch, steps in block.items()
            ]
            x = jnp.concatenate(branches, -1)
        return x.mean((1, 2))

    def _chain(self, name: str, steps: list[Step], x: Array) -> Array:
        """One branch: its convolutions are numbered where there are several."""
        numbered = sum(not callable(step) for step in steps) > 1
        count = 0
        for step in steps:
            count += not callable(step)
            x = self._step(f"{name}_{count}" if numbered else name, step, x)
        return x

    def _step(self, name: str, step: Step, x: Array) -> Array:
        if callable(step):
            return step(x)
        if isinstance(step, tuple):
            pair = zip("ab", step, strict=True)
            return jnp.concatenate(
                [self._step(name + letter, conv, x) for letter, conv in pair], -1
            )
        conv = nn.Conv(
            step.width // self.divisor,
            step.kernel,
            step.stride,
            step.padding,
            # Distances are compared between machines: no accelerator may round to fewer digits.
            precision=jax.lax.Precision.HIGHEST,
            name=name,
        )
        return nn.relu(conv(x))


@dataclasses.dataclass(frozen=True, eq=False)
class Inception(Classifier):
    """`InceptionV3` and its arrays.

    Attributes:
      origin: where these come from, in a few words.
    """

    origin: str


def pool_features(inception: Classifier, x: np.ndarray) -> np.ndarray:
    """Features float32 [N, F] of images [N, H, W, 1 or 3], at least one: uint8, or in [0, 1]."""
    network, variables = inception.network, inception.variables

    def ask(part: np.ndarray) -> Array:
        return _features(network, variables, prepared(part, network.size))

    return in_batches(ask, x, BATCH)


@functools.partial(jax.jit, static_argnums=0)
def _features(network: nn.Module, variables: Variables, x: Array) -> Array:
    """Apart from `prepared`, so that images of every size share one compiled network."""
    return network.apply(variables, x)


@functools.partial(jax.jit, static_argnums=1)
def prepared(x: Array, size: int) -> Array:
    """Images [N, H, W, 1 or 3] as the network sees them: [N, size, size, 3] in [-1, 1].

    Bilinear, with the centres of pixels in place (``align_corners=False`` in PyTorch) and, where an
    image becomes smaller, without smoothing. Grey is repeated.
    """
    x = as_float(x)
    x = jnp.broadcast_to(x, (*x.shape[:3], 3))
    x = jax.image.resize(x, (x.shape[0], size, size, 3), "bilinear", antialias=False)
    return 2.0 * x - 1.0


@functools.cache
def parameter_shapes(network: InceptionV3) -> dict[str, dict[str, Any]]:
    """{convolution: {"kernel": [rows, columns, in, out], "bias": [out]}}: shapes alone."""
    image = jax.ShapeDtypeStruct((1, network.size, network.size, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), image)["params"]
