"""Networks of texts: shapes, what depends on what, and the decoder that reads its own tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import networks
from mmvae_jax.networks import recurrent, text
from mmvae_jax.types import ModalitySpec, UserError


def spec(network, length=6, vocabulary=5, **options) -> ModalitySpec:
    return ModalitySpec(
        name="words",
        shape=(length,),
        dtype="int32",
        likelihood="categorical",
        num_classes=vocabulary,
        network=network,
        network_options=tuple(sorted(options.items())),
    )


SMALL = {
    "text": {"embedding": 6, "width": 4, "hidden": 8},
    "recurrent": {"embedding": 6, "hidden": 7, "layers": 2},
}
SPECS = [
    spec("text", **SMALL["text"]),
    spec("text", 1, **{**SMALL["text"], "hidden": 0}),
    spec("text", 13, **SMALL["text"]),
    spec("recurrent", **SMALL["recurrent"]),
    spec("recurrent", 2, embedding=3, hidden=4, layers=1),
]


@pytest.mark.parametrize("chosen", SPECS, ids=lambda s: f"{s.network}{s.shape}")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_encoders_and_decoders_fit_the_length(chosen, dtype):
    x, key = jnp.zeros((3, *chosen.shape, 5)), jax.random.key(0)
    encoder = networks.build_encoder(chosen, 6, jnp.dtype(dtype))
    decoder = networks.build_decoder(chosen, (*chosen.shape, 5), jnp.dtype(dtype))
    encoded, params = jax.eval_shape(encoder.init_with_output, key, x)
    assert encoded.shape == (3, 6) and encoded.dtype == jnp.dtype(dtype)
    decoded, more = jax.eval_shape(decoder.init_with_output, key, jnp.ones((7, 4)))
    assert decoded.shape == (7, *chosen.shape, 5)
    for leaf in jax.tree.leaves((params, more)):
        assert leaf.dtype == jnp.float32


@pytest.mark.parametrize("network", ["text", "recurrent"])
def test_every_position_is_read_and_written_and_every_weight_has_a_gradient(network):
    chosen = spec(network, 7, **SMALL[network])
    encoder, decoder = networks.build_encoder(chosen, 4), networks.build_decoder(chosen, (7, 5))
    z = jax.random.normal(jax.random.key(2), (6, 4))

    @jax.jit
    def run():
        x = jax.nn.softmax(jax.random.normal(jax.random.key(1), (6, 7, 5)))  # relaxed tokens
        first = encoder.init(jax.random.key(0), x)
        second = decoder.init(jax.random.key(0), z)

        def loss(params):
            encoder_params, decoder_params, x = params
            logits = decoder.apply(decoder_params, z)
            return (encoder.apply(encoder_params, x) ** 2).sum() + (logits**2).sum()

        return jax.grad(loss)((first, second, x)), decoder.apply(second, z)

    (first, second, of_x), logits = run()
    # Of a rectifier that is shut for all six codes some weights may have none.
    for leaf in jax.tree.leaves((first, second)):
        assert np.isfinite(leaf).all() and np.any(leaf != 0)
    assert (np.abs(of_x).sum((0, 2)) > 0).all()
    assert (np.asarray(logits).std(0) > 0).all()


def test_windows_are_a_convolution_of_kernel_4_and_stride_2():
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    kernel = np.random.default_rng(1).normal(size=(4, 3, 2)).astype(np.float32)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (2,), [(1, 1)], dimension_numbers=("NWC", "WIO", "NWC")
    )
    found = text.windows(jnp.asarray(x)) @ kernel.reshape(12, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert text.windows(jnp.ones((1, 7, 1))).shape == (1, 4, 4)


def test_the_recurrent_encoder_reads_both_ways():
    """Turned round, a text gives the same two states the other way round, where cells are equal."""
    encoder = recurrent.Encoder(outputs=3, embedding=4, hidden=5)

    @jax.jit
    def run():
        x = jax.nn.one_hot(jnp.array([[0, 1, 2, 2], [3, 0, 1, 2]]), 4)
        params = encoder.init(jax.random.key(0), x)["params"]
        one, other = sorted(name for name in params if "GRU" in name)
        same = {**params, other: params[one]}
        turned = x[:, ::-1]
        both = jnp.concatenate([x, turned])
        return encoder.apply({"params": same}, both), encoder.apply({"params": params}, both)

    same, own = (np.asarray(found) for found in run())
    np.testing.assert_allclose(same[:2], same[2:], atol=1e-6)
    assert np.abs(own[:2] - own[2:]).max() > 1e-3


def test_the_recurrent_decoder_sees_its_own_most_probable_token():
    """Step by step in NumPy, from the equations of a GRU."""
    decoder = recurrent.Decoder(output_shape=(4, 5), embedding=3, hidden=6, layers=2)
    z = jax.random.normal(jax.random.key(1), (8, 2))
    params = jax.jit(decoder.init)(jax.random.key(0), z)
    # Embeddings that matter: without them every step would say the same.
    step = next(key for key in params["params"] if "Step" in key)
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    logits = np.asarray(jax.jit(decoder.apply)(params, z))
    own, params = params["params"][step], jax.device_get(params["params"])
    own, z = jax.device_get(own), np.asarray(z)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def dense(layer, x):
        return x @ layer["kernel"] + layer.get("bias", 0.0)

    def gru(cell, h, x):
        r = sigmoid(dense(cell["ir"], x) + dense(cell["hr"], h))
        u = sigmoid(dense(cell["iz"], x) + dense(cell["hz"], h))
        n = np.tanh(dense(cell["in"], x) + r * dense(cell["hn"], h))
        return (1 - u) * n + u * h

    states = [dense(params["Dense_0"], z)] * 2
    token = np.zeros((8, 5))
    for position in range(4):
        embedded = dense(own["Dense_0"], token)
        x = np.concatenate([embedded * sigmoid(embedded), z], 1)
        for layer in range(2):
            states[layer] = x = gru(own[f"GRUCell_{layer}"], states[layer], x)
        expected = dense(own["Dense_1"], np.concatenate([x, z], 1))
        np.testing.assert_allclose(logits[:, position], expected, rtol=1e-3, atol=1e-4)
        token = np.eye(5)[expected.argmax(1)]
    assert len(np.unique(logits.argmax(-1))) > 1


@pytest.mark.parametrize("network", ["text", "recurrent"])
def test_other_data_and_options_are_refused(network):
    image = ModalitySpec(name="m", shape=(8, 8, 3), network=network)
    vector = ModalitySpec(name="v", shape=(8,), dtype="float32", network=network)
    for wrong in (image, vector):
        with pytest.raises(UserError, match=f"network '{network}' needs texts"):
            networks.build_encoder(wrong, 4)
    with pytest.raises(UserError, match="has no option 'depth'; it has embedding"):
        networks.build_encoder(spec(network, depth=3), 4)
    with pytest.raises(UserError, match="needs images"):
        networks.build_encoder(spec("conv"), 4)
