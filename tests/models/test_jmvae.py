"""JMVAE against its formula in NumPy, and against a world whose likelihood is known."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs import common
from configs import jmvae as config_file
from mmvae_jax import models
from mmvae_jax.models.jmvae import JMVAE
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.types import ModalitySpec, UserError
from tests.models import worlds

NOISE = 0.7
PATTERNS = np.array(list(itertools.product([True, False], repeat=3)))  # complete first, none last
OPTIONS = {"alpha": 0.3, "beta": 1.5, "warmup_steps": 4, "joint_features": 3, "joint_hidden": 0}


def spec(name: str, *, hidden: tuple[int, ...] = (), weight: float = 1.0) -> ModalitySpec:
    return ModalitySpec(
        name=name,
        shape=(4,),
        dtype="float32",
        likelihood="normal",
        likelihood_scale=NOISE,
        weight=weight,
        network="mlp",
        network_options=(("hidden", hidden),),
    )


def labels(name: str) -> ModalitySpec:
    return ModalitySpec(
        name=name,
        shape=(),
        dtype="int32",
        likelihood="categorical",
        num_classes=3,
        network="mlp",
        network_options=(("hidden", (4,)),),
    )


def build(count: int = 3, *, dim: int = 2, hidden: tuple[int, ...] = (), **options) -> JMVAE:
    specs = tuple(spec(f"m{i}", hidden=hidden, weight=1.0 + i) for i in range(count))
    return JMVAE(specs=specs, shared=LatentSpace(dim), **{**OPTIONS, **options})


def data(count: int = 3, rows: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {f"m{i}": generator.normal(size=(rows, 4)).astype(np.float32) for i in range(count)}


def patterned(x) -> dict:
    """One row of every pattern of presence."""
    present = {name: PATTERNS[:, i] for i, name in enumerate(x)}
    return models.prepare({"x": x, "present": present})


def make_call(model: JMVAE):
    """Jitted (params, batch, step) -> loss [B], terms and the gradient of the summed loss."""

    @jax.jit
    def call(params, x, present, step):
        batch = models.prepare({"x": x, "present": present})

        def total(params):
            loss, terms = model.loss({"params": params}, jax.random.key(2), batch, step)
            return loss.sum(), (loss, terms)

        (_, (loss, terms)), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return loss, terms, gradient

    return call


@pytest.fixture(scope="module")
def model() -> JMVAE:
    return build()


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(1), patterned(data()))["params"]


@pytest.fixture(scope="module")
def call(model):
    return make_call(model)


def present_of(patterns) -> dict[str, np.ndarray]:
    return {f"m{i}": np.ascontiguousarray(patterns[:, i]) for i in range(3)}


# --- the formula in NumPy ----------------------------------------------------------------------


def dense(params, x):
    layer = params["Dense_0"]
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def gaussian(raw):
    loc, raw_scale = np.split(raw, 2, axis=-1)
    return loc, np.log1p(np.exp(raw_scale)) + 1e-6


def kl_in_numpy(q, p):
    (m, s), (n, t) = q, p
    return (np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5).sum(-1)


def posteriors_in_numpy(params, x, patterns):
    """(posterior of each row by the model's rule, single posteriors)."""
    single = [gaussian(dense(params["encoder"][f"m{i}"]["shared"], x[f"m{i}"])) for i in range(3)]
    features = [dense(params["joint"]["features"][f"m{i}"], x[f"m{i}"]) for i in range(3)]
    joint = gaussian(dense(params["joint"]["head"], np.concatenate(features, -1)))
    locs, scales = [], []
    for row, pattern in enumerate(patterns):
        if pattern.all():
            locs.append(joint[0][row])
            scales.append(joint[1][row])
            continue
        precision, weighted = np.ones(2), np.zeros(2)  # the prior expert
        for i in np.flatnonzero(pattern):
            precision = precision + single[i][1][row] ** -2
            weighted = weighted + single[i][0][row] * single[i][1][row] ** -2
        locs.append(weighted / precision)
        scales.append(precision**-0.5)
    return (np.stack(locs), np.stack(scales)), single


def objective_in_numpy(params, x, step):
    """(what is maximised [B], its parts), on rows of every pattern and the noise of key 2."""
    q, single = posteriors_in_numpy(params, x, PATTERNS)
    noise = np.asarray(jax.random.normal(jax.random.key(2), (8, 2)), np.float64)
    z = q[0] + q[1] * noise
    log_px = np.stack(
        [
            stats.norm(dense(params["decoder"][f"m{i}"], z), NOISE).logpdf(x[f"m{i}"]).sum(-1)
            for i in range(3)
        ]
    )
    log_px = np.where(PATTERNS.T, log_px, 0.0)
    kl = kl_in_numpy(q, (0.0, np.ones(2)))
    apart = sum(kl_in_numpy(q, p) for p in single) * PATTERNS.all(1)
    warm = min((step + 1) / 4, 1.0)
    bound = np.array([1.0, 2.0, 3.0]) @ log_px - warm * (1.5 * kl + 0.3 * apart)
    return bound, log_px, kl, apart


@pytest.mark.parametrize("step", [0, 2, 100])
def test_objective_against_numpy(params, call, step):
    """lambda, beta, alpha and the warm-up, on rows of every pattern and fixed noise."""
    x = data()
    loss, terms, _ = call(params, x, present_of(PATTERNS), jnp.int32(step))
    bound, log_px, kl, apart = objective_in_numpy(params, x, step)
    np.testing.assert_allclose(-loss, bound, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(terms["elbo"], log_px.sum(0) - kl, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(terms["kl/shared"], kl, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(terms["kl/to_single"], apart, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(terms["log_px/m1"], log_px[1], rtol=1e-5, atol=1e-4)
    assert loss[-1] == 0.0  # nothing present


@pytest.mark.parametrize("step", [0, 100])
def test_gradient_against_numpy(params, call, step):
    """Of the whole loss, for single and joint encoders and decoders: nothing is held constant."""
    x = data()
    _, _, gradient = call(params, x, present_of(PATTERNS), jnp.int32(step))

    def total(moved):
        return -objective_in_numpy(moved, x, step)[0].sum()

    parts = ("encoder", "joint", "decoder")
    worlds.check_directional_derivatives(gradient, total, params, parts)


# --- a world whose likelihood is known ---------------------------------------------------------


def exact_world():
    """One latent coordinate, linear decoders, and encoders that hold every exact posterior."""
    generator = np.random.default_rng(3)
    loadings, offsets = generator.normal(size=(3, 4)), generator.normal(size=(3, 4))
    model = build(dim=1, joint_features=1, alpha=0.0, beta=1.0, warmup_steps=0)

    def layer(kernel, bias):
        return {"Dense_0": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}

    def raw(scale):
        return np.log(np.expm1(scale - 1e-6))

    total = 1 + (loadings**2).sum() / NOISE**2
    encoder, features, decoder = {}, {}, {}
    for i, (a, b) in enumerate(zip(loadings, offsets, strict=True)):
        # a'(x - b) / noise^2 is what a modality adds to the precision-weighted mean.
        to_mean = np.stack([a / (a @ a), np.zeros(4)], 1)
        bias = [-(a @ b) / (a @ a), raw(NOISE / np.sqrt(a @ a))]
        encoder[f"m{i}"] = {"shared": layer(to_mean, bias)}
        features[f"m{i}"] = layer(a[:, None] / NOISE**2, [-(a @ b) / NOISE**2])
        decoder[f"m{i}"] = layer(a[None], b)
    head = layer(np.array([[1 / total, 0.0]] * 3), [0.0, raw(total**-0.5)])
    params = {
        "encoder": encoder,
        "decoder": decoder,
        "likelihood": {f"m{i}": {} for i in range(3)},
        "joint": {"features": features, "head": head},
    }
    return model, params, loadings, offsets


def log_likelihood(loadings, offsets, x, patterns) -> np.ndarray:
    """log p of what is present in each row."""
    found = []
    for row, pattern in enumerate(patterns):
        if not pattern.any():
            found.append(0.0)
            continue
        a = loadings[pattern].reshape(-1)
        covariance = np.outer(a, a) + NOISE**2 * np.eye(len(a))
        values = np.concatenate([x[f"m{i}"][row] for i in np.flatnonzero(pattern)])
        mean = offsets[pattern].reshape(-1)
        found.append(stats.multivariate_normal(mean, covariance).logpdf(values))
    return np.array(found)


def test_at_the_exact_posterior_the_bounds_are_the_likelihood_for_every_pattern():
    """Joint encoder on complete rows, product with the prior on the others.

    With the densities at the draw there is no variance left; the ELBO of training has its KL in
    closed form, and equals log p(x) in the mean.
    """
    model, params, loadings, offsets = exact_world()
    variables, x = {"params": params}, data()
    exact = log_likelihood(loadings, offsets, x, PATTERNS)
    batch = patterned(x)

    @jax.jit
    def evaluate(rng):
        losses = jax.vmap(lambda key: model.loss(variables, key, batch, jnp.int32(0))[1]["elbo"])
        every = model.log_weights(variables, rng, batch, model.names, (), 3)
        pair = model.log_weights(variables, rng, batch, ("m0", "m2"), (), 3)
        return losses(jax.random.split(rng, 4000)), every, pair

    elbo, every, pair = evaluate(jax.random.key(0))
    error = np.asarray(elbo).std(0) / np.sqrt(len(elbo))
    np.testing.assert_array_less(np.abs(elbo.mean(0) - exact), 4 * error + 1e-4)
    np.testing.assert_allclose(every, np.stack([exact] * 3), atol=2e-3)
    exact_pair = log_likelihood(loadings, offsets, x, PATTERNS & np.array([True, False, True]))
    np.testing.assert_allclose(pair, np.stack([exact_pair] * 3), atol=2e-3)


def test_elsewhere_the_mean_elbo_is_below_the_likelihood_and_more_samples_tighten_it():
    model, params, loadings, offsets = exact_world()
    moved = jax.tree.map(lambda p: p + 0.2, {k: params[k] for k in ("encoder", "joint")})
    params = {**params, **moved}
    x = data()
    exact = log_likelihood(loadings, offsets, x, PATTERNS)[:-1]

    @jax.jit
    def weights(rng):
        return model.log_weights({"params": params}, rng, patterned(x), model.names, (), 4000)

    log_w = np.asarray(weights(jax.random.key(0)), np.float64)[:, :-1]
    error = log_w.std(0) / np.sqrt(len(log_w))
    assert np.all(log_w.mean(0) < exact + 4 * error)
    blocks = np.log(np.exp(log_w.reshape(80, 50, -1) - exact).mean(1))
    assert np.all(blocks.mean(0) + exact > log_w.mean(0) + 4 * error)


# --- gradients ---------------------------------------------------------------------------------


def test_alpha_alone_trains_the_single_encoders_on_complete_rows(params, call):
    """d/d loc_m of alpha KL(q || N(loc_m, scale_m^2)) = -alpha (loc - loc_m) / scale_m^2."""
    x = data()
    whole = np.ones((8, 3), bool)
    _, _, gradient = call(params, x, present_of(whole), jnp.int32(100))
    q, single = posteriors_in_numpy(params, x, whole)
    for i, (loc, scale) in enumerate(single):
        expected = 0.3 * ((loc - q[0]) / scale**2).sum(0)
        found = gradient["encoder"][f"m{i}"]["shared"]["Dense_0"]["bias"][:2]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        for_scale = 1 / scale - (q[1] ** 2 + (q[0] - loc) ** 2) / scale**3
        raw = dense(params["encoder"][f"m{i}"]["shared"], x[f"m{i}"])[:, 2:]
        expected = 0.3 * (for_scale / (1 + np.exp(-raw))).sum(0)
        found = gradient["encoder"][f"m{i}"]["shared"]["Dense_0"]["bias"][2:]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_joint_encoder_never_touches_partial_rows(params, call):
    x, partial = data(), present_of(np.concatenate([PATTERNS[1:], PATTERNS[1:2]]))
    loss, _, gradient = call(params, x, partial, jnp.int32(100))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient["joint"]))
    assert np.any(gradient["encoder"]["m0"]["shared"]["Dense_0"]["kernel"])
    other = {**params, "joint": jax.tree.map(lambda p: p + 1.0, params["joint"])}
    again, _, gradient_again = call(other, x, partial, jnp.int32(100))
    np.testing.assert_array_equal(loss, again)
    jax.tree.map(np.testing.assert_array_equal, gradient, gradient_again)
    _, _, complete = call(params, x, present_of(np.ones((8, 3), bool)), jnp.int32(100))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(complete["joint"]))


def test_missing_is_absent_bit_for_bit(params, call):
    x, present = data(), present_of(PATTERNS)
    changed = {k: np.where(present[k][:, None], v, np.float32(-1e6)) for k, v in x.items()}
    first = call(params, x, present, jnp.int32(0))
    second = call(params, changed, present, jnp.int32(0))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))


def test_rows_of_every_pattern_share_one_program(params, call):
    for patterns in (PATTERNS, PATTERNS[::-1]):
        call(params, data(), present_of(patterns), jnp.int32(3))
    assert call._cache_size() == 1  # every other test's calls counted too


def test_finite_at_extreme_posteriors(params, call):
    """Scales near 1e-4 and near 1e3, decoder biases of +-50."""
    for raw in (-9.2, 1e3):
        wide = jax.tree.map(lambda p: p, params)
        for i in range(3):
            for layer in (wide["encoder"][f"m{i}"]["shared"], wide["joint"]["head"]):
                layer["Dense_0"]["bias"] = layer["Dense_0"]["bias"].at[2:].set(raw)
            layer = wide["decoder"][f"m{i}"]["Dense_0"]
            layer["bias"] = layer["bias"] + 50.0 * (-1) ** i
        found = call(wide, data(), present_of(PATTERNS), jnp.int32(100))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


# --- answers -----------------------------------------------------------------------------------


def test_the_posterior_is_joint_where_all_is_present_and_given(model, params):
    x = data()

    @jax.jit
    def encode(x):
        batch = patterned(x)
        every = model.encode({"params": params}, batch)
        return every, model.encode({"params": params}, batch, ("m0", "m1"))

    every, pair = encode(x)
    q, _ = posteriors_in_numpy(params, x, PATTERNS)
    np.testing.assert_allclose(every.shared["loc"][0], q[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(every.shared["scale"][0], q[1], rtol=1e-4, atol=1e-5)
    assert every.strata.shape == (1, 8)
    product, _ = posteriors_in_numpy(params, x, PATTERNS & np.array([True, True, False]))
    np.testing.assert_allclose(pair.shared["loc"][0], product[0], rtol=1e-4, atol=1e-5)
    # What is not given does not leak into what is.
    _, changed = encode({**x, "m2": x["m2"] + 3.0})
    jax.tree.map(np.testing.assert_array_equal, pair, changed)


def test_two_modalities_and_a_label():
    """An image and its class: the joint encoder sees the class as one-hot."""
    model = JMVAE(specs=(spec("x"), labels("y")), shared=LatentSpace(2), joint_features=2)
    x = {"x": data()["m0"][:4], "y": np.array([0, 1, 2, 1], np.int32)}
    present = {"x": np.array([True, True, False, False]), "y": np.array([True, False, True, False])}
    batch = models.prepare({"x": x, "present": present})
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    assert variables["params"]["joint"]["features"]["y"]["Dense_0"]["kernel"].shape == (3, 4)
    loss, terms = jax.jit(model.loss)(variables, jax.random.key(1), batch, jnp.int32(0))
    assert np.all(np.isfinite(loss)) and loss[3] == 0.0
    assert np.all(terms["log_px/y"][np.array([1, 3])] == 0.0)


def test_what_it_cannot_be_is_said():
    with pytest.raises(UserError, match="'laplace': JMVAE needs 'normal'"):
        JMVAE(specs=(spec("a"), spec("b")), shared=LatentSpace(2, "laplace"))
    private = ModalitySpec(name="a", shape=(4,), private_dim=2)
    with pytest.raises(UserError, match="no private spaces, but 'a' asks for one"):
        JMVAE(specs=(private, spec("b")), shared=LatentSpace(2))


@pytest.mark.parametrize("dataset", sorted(common.DATASETS))
def test_its_config_builds(dataset):
    values = config_file.get_config(f"dataset={dataset}").to_dict()
    values["model"]["modalities"] = {}  # these are not the data set's
    image, label = ModalitySpec(name="image", shape=(28, 28, 1)), labels("label")
    assert isinstance(worlds.from_config(values, (image, label)), JMVAE)


def test_training_makes_the_posterior_given_one_modality_find_the_others():
    """Three views of one number, some missing: the loss falls, and one view predicts the others."""
    generator = np.random.default_rng(0)
    z = generator.normal(size=(256, 1))
    direction = generator.normal(size=(3, 4))
    x = {
        f"m{i}": np.float32(z * direction[i] + 0.1 * generator.normal(size=(256, 4)))
        for i in range(3)
    }
    present = {f"m{i}": generator.random(256) < 0.8 for i in range(3)}
    model = build(dim=2, beta=1.0, alpha=0.1, warmup_steps=20, hidden=(16,), joint_hidden=8)
    raw = {"x": x, "present": present}
    start = jax.jit(model.init)(jax.random.key(0), models.prepare(raw))["params"]
    variables, losses = worlds.train(model, raw, 150, params=start, rate=2e-2)
    assert losses[0] - losses[-10:].mean() > 8.0  # measured: 22.9 to 13.3 nats
    made = worlds.drawn(model, variables, x, "m2")
    error = np.square(made - x["m2"]).mean() / np.square(x["m2"]).mean()
    assert error < 0.2  # measured: 0.11
