"""Shapes, sizes and published layouts of the network families."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import networks
from mmvae_jax.networks import conv as conv_family
from mmvae_jax.networks import layers, resnet
from mmvae_jax.types import ModalitySpec, UserError


def image(shape, network, **options) -> ModalitySpec:
    return ModalitySpec(
        name="m", shape=shape, network=network, network_options=tuple(sorted(options.items()))
    )


SPECS = [
    *(image(shape, "conv", width=4, hidden=8) for shape in [(8, 8, 1), (16, 16, 3), (28, 28, 3)]),
    image((17, 23, 3), "conv", width=4, hidden=8),
    image((28, 28, 3), "conv", width=4, hidden=8, decoder_factor=4, decoder_width=2),
    image((17, 23, 3), "conv", width=4, hidden=8, decoder_factor=4),
    image((28, 28, 3), "resnet", width=4),
    image((32, 32, 1), "resnet", width=4, stages=3),
    image((7,), "mlp", hidden=(8,)),
    image((28, 28, 1), "mlp", hidden=()),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.network}{spec.shape}")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_encoders_and_decoders_fit_the_shape(spec, dtype):
    x, key = jnp.zeros((3, *spec.shape)), jax.random.key(0)
    encoder = networks.build_encoder(spec, 6, jnp.dtype(dtype))
    decoder = networks.build_decoder(spec, spec.shape, jnp.dtype(dtype))
    encoded, params = jax.eval_shape(encoder.init_with_output, key, x)
    assert encoded.shape == (3, 6)
    decoded, more = jax.eval_shape(decoder.init_with_output, key, jnp.ones((5, 4)))
    assert decoded.shape == (5, *spec.shape)
    for leaf in jax.tree.leaves((params, more)):
        assert leaf.dtype == jnp.float32  # bfloat16 is for computing, not for parameters


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.network}{spec.shape}")
def test_every_output_pixel_depends_on_the_code(spec):
    decoder = networks.build_decoder(spec, spec.shape)
    params = decoder.init(jax.random.key(0), jnp.ones((1, 4)))
    codes = jax.random.normal(jax.random.key(1), (50, 4))
    assert np.all(np.asarray(decoder.apply(params, codes)).std(0) > 0)


@pytest.mark.parametrize(
    ("size", "factor", "steps"),
    [(8, 2, 1), (16, 2, 2), (28, 2, 3), (64, 2, 4), (8, 4, 1), (28, 4, 1), (32, 4, 1), (64, 4, 2)],
)
def test_upsampling_steps_lead_from_a_small_map_to_the_image(size, factor, steps):
    assert conv_family.upsamplings(size, factor, 4) == steps


def test_depth_to_space_puts_channels_where_the_definition_says():
    x = np.arange(2 * 2 * 3 * 8, dtype=np.float32).reshape(2, 2, 3, 8)
    y = np.asarray(layers.depth_to_space(jnp.asarray(x)))
    assert y.shape == (2, 4, 6, 2)
    for i, j, a, b, c in itertools.product(range(2), range(3), range(2), range(2), range(2)):
        np.testing.assert_array_equal(y[:, 2 * i + a, 2 * j + b, c], x[:, i, j, 4 * a + 2 * b + c])


def test_nearest_upsampling_repeats():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected = x.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(layers.upsample_nearest(jnp.asarray(x)), expected)


def test_average_pool_counts_the_zeros_of_its_padding():
    pooled = np.asarray(resnet.average_pool(jnp.ones((1, 6, 6, 1))))[0, :, :, 0]
    assert pooled.shape == (3, 3)
    np.testing.assert_allclose(pooled[0], [4 / 9, 6 / 9, 6 / 9], rtol=1e-6)
    np.testing.assert_allclose(pooled[1:, 1:], np.ones((2, 2)), rtol=1e-6)


def conv(size: int, inputs: int, outputs: int) -> int:
    return size * size * inputs * outputs + outputs


def block(inputs: int, outputs: int) -> int:
    middle = min(inputs, outputs)
    shortcut = inputs * outputs if inputs != outputs else 0
    return conv(3, inputs, middle) + conv(3, middle, outputs) + shortcut


def test_resnet_is_the_published_polymnist_network():
    """Layer by layer: a convolution, blocks 64, 128, 256 on 28, 14, 7 pixels, 12,544 features."""
    x = jnp.zeros((1, 28, 28, 3))
    encoder = jax.eval_shape(resnet.Encoder(outputs=64).init, jax.random.key(0), x)
    expected = conv(3, 3, 64) + block(64, 64) + block(64, 128) + block(128, 256)
    expected += 256 * 7 * 7 * 64 + 64
    assert sum(leaf.size for leaf in jax.tree.leaves(encoder)) == expected
    decoder = resnet.Decoder(output_shape=(28, 28, 3))
    decoder = jax.eval_shape(decoder.init, jax.random.key(0), jnp.zeros((1, 64)))
    expected = 64 * 12544 + 12544 + block(256, 128) + block(128, 64) + block(64, 64)
    expected += conv(3, 64, 3)
    assert sum(leaf.size for leaf in jax.tree.leaves(decoder)) == expected


def test_initial_weights_are_uniform_within_one_over_root_fan_in():
    weights = layers.fan_in_uniform(jax.random.key(0), (400, 300), jnp.float32)
    assert float(jnp.abs(weights).max()) <= 1 / 20
    assert float(weights.std()) == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (image((7,), "conv"), "needs images"),
        (image((4, 4, 3), "conv"), "at least 8x8"),
        (image((30, 30, 3), "resnet"), "divisible by 4"),
        (image((16, 16, 3), "conv", depth=3), "has no option 'depth'; it has width, hidden"),
        (image((16, 16, 3), "transformer"), "unknown family 'transformer'; known: conv, mlp"),
    ],
)
def test_what_does_not_fit_is_refused(spec, said):
    with pytest.raises(UserError, match=said):
        networks.build_encoder(spec, 4)
