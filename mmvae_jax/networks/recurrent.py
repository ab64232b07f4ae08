"""The recurrent pair of MVAE's texts (Wu & Goodman 2018, and its published code for MultiMNIST).

The encoder is a bidirectional GRU whose two states are added: here each has read the whole text
(the published one is read at the last position, where its backward half has seen one token only).
The decoder is a stack of GRUs that sees the code at every step, and its own most probable token of
the step before, in training too. There is no dropout.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmvae_jax.networks.layers import fan_in_uniform
from mmvae_jax.types import Array

# `layers` are the decoder's.
OPTIONS = {"embedding": 200, "hidden": 200, "layers": 2}


def _cell(features: int, dtype: Any) -> nn.GRUCell:
    return nn.GRUCell(features, dtype=dtype, kernel_init=fan_in_uniform)


class Encoder(nn.Module):
    """[N, L, V] -> [N, outputs]; one-hot tokens, or anything relaxed on the simplex."""

    outputs: int
    embedding: int = OPTIONS["embedding"]
    hidden: int = OPTIONS["hidden"]
    layers: int = OPTIONS["layers"]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encodes texts [N, L, V]."""
        x = nn.Dense(self.embedding, use_bias=False, dtype=self.dtype)(x)
        start = jnp.zeros((x.shape[0], self.hidden), self.dtype)
        ends = []
        for reverse in (False, True):
            read = nn.RNN(_cell(self.hidden, self.dtype), return_carry=True, reverse=reverse)
            ends.append(read(x, initial_carry=start)[0])
        return nn.Dense(self.outputs, dtype=self.dtype, kernel_init=fan_in_uniform)(sum(ends))


class _Step(nn.Module):
    """One token: states [N, hidden] of every layer and the token before [N, V] to the next ones."""

    vocabulary: int
    embedding: int
    hidden: int
    layers: int
    dtype: Any

    @nn.compact
    def __call__(
        self, carry: tuple[tuple[Array, ...], Array], z: Array
    ) -> tuple[tuple[tuple[Array, ...], Array], Array]:
        """((states, token), logits [N, V]) from ((states, token), codes [N, D])."""
        states, token = carry
        x = nn.swish(nn.Dense(self.embedding, use_bias=False, dtype=self.dtype)(token))
        x, found = jnp.concatenate([x, z], axis=-1), []
        for state in states:
            state, x = _cell(self.hidden, self.dtype)(state, x)
            found.append(state)
        dense = nn.Dense(self.vocabulary, dtype=self.dtype, kernel_init=fan_in_uniform)
        logits = dense(jnp.concatenate([x, z], axis=-1))
        token = jax.nn.one_hot(jnp.argmax(logits, -1), self.vocabulary, dtype=self.dtype)
        return (tuple(found), token), logits


class Decoder(nn.Module):
    """[N, D] -> [N, L, V], the logits of every position, one after the other."""

    output_shape: tuple[int, ...]
    embedding: int = OPTIONS["embedding"]
    hidden: int = OPTIONS["hidden"]
    layers: int = OPTIONS["layers"]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decodes codes [N, D]."""
        length, vocabulary = self.output_shape
        z = z.astype(self.dtype)
        start = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=fan_in_uniform)(z)
        step = nn.scan(
            _Step,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=nn.broadcast,
            out_axes=1,
            length=length,
        )
        step = step(vocabulary, self.embedding, self.hidden, self.layers, self.dtype)
        nothing = jnp.zeros((z.shape[0], vocabulary), self.dtype)
        return step(((start,) * self.layers, nothing), z)[1]
