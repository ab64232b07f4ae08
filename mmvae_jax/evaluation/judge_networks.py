"""The networks that judge: images, their attributes, vectors, counts, texts, labels themselves."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.types import Array, ModalitySpec

_SMALL = 4


class ImageNet(nn.Module):
    """4x4 convolutions of stride 2 and a hidden layer, for [B, H, W, C] in [0, 1].

    No further convolution where the image is 4x4 already: on 16x16 digits a third one doubled the
    time of training and made no better judge.
    The convolutions are products of patches and a matrix: on CPU the gradient of a strided
    convolution inside a scan ran 25 times slower.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 128
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, hidden: bool = False) -> Array:
        """Scores [B, num_classes], or where ``hidden`` what the last layer sees, [B, F]."""
        x = 2.0 * x - 1.0
        for width in self.widths:
            if max(x.shape[1:3]) <= _SMALL:
                break
            x = nn.relu(nn.LayerNorm()(nn.Dense(width)(patches(x))))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(nn.LayerNorm()(nn.Dense(self.hidden)(x)))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x if hidden else nn.Dense(self.num_classes)(x)


class AttributeNet(nn.Module):
    """An `ImageNet` with a head for each attribute of an image [B, H, W, C].

    Attributes:
      sizes: number of values of each attribute.
    """

    sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, hidden: bool = False) -> Array:
        """Scores [B, attributes, most values]; -inf for values that an attribute has not.

        Where ``hidden`` what the last layer sees, [B, F].
        """
        most = max(self.sizes)
        scores = ImageNet(len(self.sizes) * most)(x, train=train, hidden=hidden)
        if hidden:
            return scores
        exists = np.arange(most) < np.array(self.sizes)[:, None]
        return jnp.where(exists[None], scores.reshape(-1, *exists.shape), -jnp.inf)


class VectorNet(nn.Module):
    """Two hidden layers, for [B, F]; `location` and `scale` standardise the features."""

    num_classes: int
    hidden: int = 128
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, hidden: bool = False) -> Array:
        """Scores [B, num_classes], or where ``hidden`` what the last layer sees, [B, F]."""
        x = self.rescaled(x)
        location = self.variable("standard", "location", jnp.zeros, x.shape[1:])
        scale = self.variable("standard", "scale", jnp.ones, x.shape[1:])
        x = (x - location.value[None]) / scale.value[None]
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(self.hidden)(x)))
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x if hidden else nn.Dense(self.num_classes)(x)

    def rescaled(self, x: Array) -> Array:
        """The features that are standardised."""
        return x


class CountNet(VectorNet):
    """A `VectorNet` of log(1 + counts), or rates."""

    def rescaled(self, x: Array) -> Array:
        """The features that are standardised."""
        return jnp.log1p(jnp.maximum(x, 0.0))


class TextNet(nn.Module):
    """Windows of three tokens, and a hidden layer that sees all of them, for texts [B, L, V].

    Of the probabilities of a text that is generated the most probable token of each position
    counts; of a real one they are 0 and 1. What stands behind the first end is not seen, nor is
    padding. The hidden layer knows positions, so that the length of a text tells as its words do.

    Attributes:
      num_classes: C.
      vocabulary: V.
      end_id: the token that ends a text; -1 where none does.
      pad_id: the token that fills it up; -1 where none does.
    """

    num_classes: int
    vocabulary: int
    end_id: int = -1
    pad_id: int = -1
    embedding: int = 32
    width: int = 64
    hidden: int = 128
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, hidden: bool = False) -> Array:
        """Scores [B, num_classes], or where ``hidden`` what the last layer sees, [B, F]."""
        tokens = x.argmax(-1)
        spec = ModalitySpec(
            name="text", shape=x.shape[1:2], num_classes=self.vocabulary, end_id=self.end_id
        )
        there = ~spec.behind_end(tokens) & (tokens != self.pad_id)
        # A token of -1 is of no word: its row is 0.
        x = jax.nn.one_hot(jnp.where(there, tokens, -1), self.vocabulary)
        x = nn.Dense(self.embedding, use_bias=False)(x)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        x = jnp.concatenate((x[:, :-2], x[:, 1:-1], x[:, 2:]), -1)
        x = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(nn.LayerNorm()(nn.Dense(self.hidden)(x)))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x if hidden else nn.Dense(self.num_classes)(x)


class Itself(nn.Module):
    """The judge of a label modality, for [B, C]: the generated probabilities are the scores."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Scores [B, C]."""
        del train
        return x


def patches(x: Array) -> Array:
    """The 4x4 patches at stride 2 of [B, H, W, C]: [B, ceil(H / 2), ceil(W / 2), 16 * C]."""
    size, height, width, channels = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    x = jnp.pad(x, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    x = x.reshape(size, rows + 1, 2, columns + 1, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(size, rows + 1, columns + 1, 4 * channels)
    corners = (x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:])
    return jnp.concatenate(corners, -1)
