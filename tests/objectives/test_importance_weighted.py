"""Importance-weighted bounds and their gradients in a linear-Gaussian world.

z ~ N(0, I), x | z ~ N(W z, noise**2 I) with orthogonal columns of W, so the exact posterior is a
diagonal Gaussian and log p(x) is known. The encoder is q(z | x) = N(loc, exp(log_scale)**2).
"""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mmvae_jax import objectives
from mmvae_jax.distributions import normal_kl, normal_log_prob

NOISE = 0.6
W = np.array([[1.0, 0.4], [-0.5, 0.8], [0.8, 0.0]])
W[:, 1] -= W[:, 0] * (W[:, 0] @ W[:, 1]) / (W[:, 0] @ W[:, 0])
X = np.array([1.1, -0.7, 0.4])
LOG_PX = scipy.stats.multivariate_normal(np.zeros(3), W @ W.T + NOISE**2 * np.eye(3)).logpdf(X)

POSTERIOR_SCALE = (1 + np.sum(W**2, 0) / NOISE**2) ** -0.5
EXACT = {"loc": POSTERIOR_SCALE**2 * (W.T @ X) / NOISE**2, "log_scale": np.log(POSTERIOR_SCALE)}
INEXACT = {
    "loc": EXACT["loc"] + np.array([0.3, -0.2]),
    "log_scale": EXACT["log_scale"] + np.array([0.3, 0.2]),
}


def as_params(encoder):
    encoder = {name: jnp.asarray(value, jnp.float32) for name, value in encoder.items()}
    return {"encoder": encoder, "decoder": jnp.asarray(W, jnp.float32)}


def log_weight(params, z, density):
    """log p(z) + log p(x|z) - log q(z), [..., 2] -> [...]; `density` holds q's parameters."""
    z2 = z.reshape(-1, 2)
    log_px = normal_log_prob(
        jnp.asarray(X, jnp.float32)[None], z2 @ params["decoder"].T, NOISE
    ).sum(-1)
    log_pz = normal_log_prob(z2, 0.0, 1.0).sum(-1)
    log_q = normal_log_prob(z2, density["loc"][None], jnp.exp(density["log_scale"])[None]).sum(-1)
    return (log_px + log_pz - log_q).reshape(z.shape[:-1])


def detached_log_weight(params, z):
    return log_weight(params, z, jax.lax.stop_gradient(params["encoder"]))


def draw(params, noise):
    encoder = params["encoder"]
    return encoder["loc"][None] + jnp.exp(encoder["log_scale"])[None] * noise


def bound(estimator, params, noise):
    """The bound from noise [K, 2] by one of the three gradient estimators."""
    z = draw(params, noise)
    if estimator == "iwae":
        return objectives.iwae(log_weight(params, z, params["encoder"]))
    if estimator == "stl":
        return objectives.iwae(detached_log_weight(params, z))
    return objectives.doubly_reparameterized(detached_log_weight)(params, z)


def replicates(estimator, encoder, num_samples, count, seed=0):
    """Values [count] and gradients (each leaf [count, ...]) of independent estimates."""
    noise = jax.random.normal(jax.random.key(seed), (count, num_samples, 2))
    one = jax.value_and_grad(lambda params, eps: bound(estimator, params, eps))
    return jax.jit(jax.vmap(one, (None, 0)))(as_params(encoder), noise)


def flat(gradient):
    """Encoder gradients as [count, 4] in float64."""
    return np.concatenate([gradient["encoder"][k] for k in ("loc", "log_scale")], 1).astype(float)


def log_weight_slope(encoder, noise):
    """d log w / d z through p(z) and p(x|z) and -log q(z) with q's parameters fixed, [K, 2]."""
    loc, scale = encoder["loc"], np.exp(encoder["log_scale"])
    z = loc + scale * noise
    return -z + (X - z @ W.T) @ W / NOISE**2 + (z - loc) / scale**2


def log_weight_value(encoder, noise):
    loc, scale = encoder["loc"], np.exp(encoder["log_scale"])
    z = loc + scale * noise
    log_px = scipy.stats.norm.logpdf(X, z @ W.T, NOISE).sum(1)
    log_q = scipy.stats.norm.logpdf(z, loc, scale).sum(1)
    return log_px + scipy.stats.norm.logpdf(z).sum(1) - log_q


def written_out_gradient(encoder, noise, power):
    """sum_k w_k**power d log w_k/dz dz/d(loc, log_scale): power 1 is STL, power 2 is DReG."""
    weight = scipy.special.softmax(log_weight_value(encoder, noise))[:, None] ** power
    slope = weight * log_weight_slope(encoder, noise)
    return np.concatenate([slope.sum(0), (slope * np.exp(encoder["log_scale"]) * noise).sum(0)])


def closed_form_elbo(encoder):
    """log p(x) - KL(q || exact posterior), differentiable."""
    scale = jnp.exp(encoder["log_scale"])
    exact = {k: jnp.asarray(v, jnp.float32) for k, v in EXACT.items()}
    return LOG_PX - jnp.sum(
        normal_kl(encoder["loc"], scale, exact["loc"], jnp.exp(exact["log_scale"]))
    )


# --- log_mean_exp ------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, -1, 1, (0, 1), (0, 2), (0, 1, 2)])
def test_log_mean_exp_equals_scipy(generator, axis):
    log_w = generator.normal(size=(4, 5, 3)) * 30 - 1000
    where = generator.random((4, 5, 3)) < 0.7
    where[0, 0] = where[0, :, 0] = where[:, 0, 0] = True
    where[:, :, 0] |= ~where.any(2)
    where[0] |= ~where.any(0)
    where[:, 0] |= ~where.any(1)
    mean = scipy.special.logsumexp(log_w, axis) - np.log(
        np.prod([log_w.shape[a] for a in np.atleast_1d(axis)])
    )
    np.testing.assert_allclose(objectives.log_mean_exp(log_w, axis), mean, rtol=1e-6)
    with np.errstate(divide="ignore"):
        masked = scipy.special.logsumexp(log_w, axis, b=where) - np.log(where.sum(axis))
    np.testing.assert_allclose(objectives.log_mean_exp(log_w, axis, where=where), masked, rtol=1e-6)


def test_log_mean_exp_ignores_what_is_not_selected():
    log_w = jnp.array([[jnp.nan, 1.0, jnp.inf], [0.0, -jnp.inf, jnp.nan]])
    where = np.array([[False, True, False], [True, True, False]])
    value, gradient = jax.jit(
        jax.value_and_grad(lambda x: objectives.log_mean_exp(x, 0, where=where).sum())
    )(log_w)
    np.testing.assert_allclose(value, 0.0 + (1.0 - np.log(2)) + 0.0, rtol=1e-6)
    np.testing.assert_array_equal(gradient, [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def test_log_mean_exp_keeps_extremes(debug_nans):
    log_w = jnp.array([[-jnp.inf, -jnp.inf, 1e4, -1e4], [-jnp.inf, 0.0, 1e4, -1e4]])
    expected = [-np.inf, -np.log(2), 1e4, -1e4]
    np.testing.assert_allclose(objectives.log_mean_exp(log_w, 0), expected, rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: objectives.log_mean_exp(x, 0)[1:].sum()))(log_w)
    np.testing.assert_allclose(gradient, [[0, 0, 0.5, 0.5], [0, 1, 0.5, 0.5]], rtol=1e-6)


def test_a_selected_nan_is_not_hidden():
    assert np.isnan(objectives.iwae(jnp.array([0.0, jnp.nan])))


def test_iwae_takes_a_mask_over_samples_or_over_everything(generator):
    log_w = generator.normal(size=(6, 4)).astype(np.float32)
    chosen = np.array([True, False, True, True, False, False])
    expected = objectives.iwae(log_w[chosen])
    np.testing.assert_allclose(objectives.iwae(log_w, where=chosen), expected, rtol=1e-6)
    everywhere = np.repeat(chosen[:, None], 4, 1)
    np.testing.assert_allclose(objectives.iwae(log_w, where=everywhere), expected, rtol=1e-6)
    assert objectives.iwae(log_w).shape == (4,)


def test_masks_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(4,\) does not fit \(6, 4\)"):
        objectives.iwae(np.zeros((6, 4)), where=np.ones(4, bool))
    with pytest.raises(TypeError, match="boolean"):
        objectives.iwae(np.zeros((6, 4)), where=np.ones((6, 4)))
    with pytest.raises(ValueError, match="samples"):
        objectives.iwae(np.zeros(()))


def test_normalized_weights_are_a_softmax_without_gradient(generator):
    log_w = generator.normal(size=(4, 5)) * 10
    log_w[1, 2] = -np.inf
    np.testing.assert_allclose(
        objectives.normalized_weights(log_w, 0), scipy.special.softmax(log_w, 0), rtol=1e-5
    )
    both = objectives.normalized_weights(log_w, (0, 1))
    np.testing.assert_allclose(both, scipy.special.softmax(log_w), rtol=1e-4, atol=1e-30)
    np.testing.assert_array_equal(objectives.normalized_weights(np.full((3, 2), -np.inf), 0), 0)
    square = jax.jit(jax.grad(lambda x: jnp.sum(objectives.normalized_weights(x, 0) ** 2)))
    gradient = square(jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(gradient, 0.0)


# --- scale_cotangent ---------------------------------------------------------------------------


def test_scale_cotangent_is_the_identity_with_a_scaled_gradient(generator):
    x = jnp.asarray(generator.normal(size=(3, 2, 4)), jnp.float32)
    weight = jnp.asarray(generator.random((3, 2)), jnp.float32)
    out, pullback = jax.vjp(objectives.scale_cotangent, x, weight)
    np.testing.assert_array_equal(out, x)
    by_x, by_weight = pullback(jnp.ones_like(x) * 3)
    np.testing.assert_allclose(by_x, np.repeat(3 * weight[..., None], 4, -1), rtol=1e-6)
    np.testing.assert_array_equal(by_weight, 0.0)
    _, tangent = jax.jvp(lambda x: objectives.scale_cotangent(x, weight), (x,), (x,))
    np.testing.assert_allclose(tangent, x * weight[..., None], rtol=1e-6)


def test_scale_cotangent_needs_the_leading_axes():
    with pytest.raises(ValueError, match="leading axes"):
        objectives.scale_cotangent(np.zeros((3, 2)), np.zeros(2))


# --- values of the bounds ----------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["iwae", "stl", "dreg"])
def test_bounds_grow_with_k_towards_the_evidence(estimator):
    """K = 1 is the closed-form ELBO; K = 5 and 50 lie between it and log p(x), in this order."""
    means, errors = [], []
    for num_samples in (1, 5, 50):
        values, _ = replicates(estimator, INEXACT, num_samples, 4000)
        values = np.asarray(values, np.float64)
        means.append(values.mean())
        errors.append(values.std() / np.sqrt(len(values)))
    elbo = float(closed_form_elbo(as_params(INEXACT)["encoder"]))
    assert abs(means[0] - elbo) < 4 * errors[0]
    assert means[0] + 4 * errors[0] < means[1] - 4 * errors[1]
    assert means[1] + 4 * errors[1] < means[2] - 4 * errors[2]
    assert means[2] < LOG_PX + 4 * errors[2]
    assert LOG_PX - means[2] < 0.05 * (LOG_PX - elbo)


@pytest.mark.parametrize("num_samples", [1, 10])
@pytest.mark.parametrize("estimator", ["iwae", "stl", "dreg"])
def test_every_sample_gives_the_evidence_at_the_exact_posterior(estimator, num_samples):
    """p(x, z)/q(z|x) is p(x) for every z: no variance, up to float32 of terms near 10."""
    values, _ = replicates(estimator, EXACT, num_samples, 500)
    np.testing.assert_allclose(values, LOG_PX, atol=2e-5)


def test_the_three_estimators_have_one_value():
    values = [replicates(e, INEXACT, 10, 100)[0] for e in ("iwae", "stl", "dreg")]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-6)
    np.testing.assert_allclose(values[2], values[0], rtol=1e-6)


# --- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["iwae", "stl", "dreg"])
def test_all_are_unbiased_for_one_sample(estimator):
    """Expected: the derivative of the closed-form ELBO."""
    gradient = flat(replicates(estimator, INEXACT, 1, 20_000)[1])
    exact = jax.grad(closed_form_elbo)(as_params(INEXACT)["encoder"])
    exact = np.concatenate([exact["loc"], exact["log_scale"]])
    assert np.all(np.abs(gradient.mean(0) - exact) < 4 * gradient.std(0) / np.sqrt(20_000))
    assert np.all(np.abs(exact) > 0.1)


def test_dreg_agrees_with_iwae_and_varies_less():
    """Encoder gradients at K = 10, one Gaussian posterior: equal in the mean, less variance."""
    count = 40_000
    iwae = flat(replicates("iwae", INEXACT, 10, count, seed=1)[1])
    dreg = flat(replicates("dreg", INEXACT, 10, count, seed=2)[1])
    error = np.sqrt((iwae.var(0) + dreg.var(0)) / count)
    assert np.all(np.abs(iwae.mean(0) - dreg.mean(0)) < 4 * error)
    assert np.all(dreg.var(0) < 0.5 * iwae.var(0))
    # The comparison can fail: STL, which keeps w instead of w**2, is many errors away.
    stl = flat(replicates("stl", INEXACT, 10, count, seed=2)[1])
    assert np.max(np.abs(iwae.mean(0) - stl.mean(0)) / error) > 20


def test_decoder_gradients_of_the_three_are_the_same():
    gradients = [replicates(e, INEXACT, 10, 50)[1]["decoder"] for e in ("iwae", "stl", "dreg")]
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[2], gradients[0], rtol=1e-4, atol=1e-5)
    assert np.abs(gradients[0]).max() > 0.1


@pytest.mark.parametrize("estimator, power", [("stl", 1), ("dreg", 2)])
@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(
    shift=st.floats(-1.0, 1.0), stretch=st.floats(-0.7, 0.7), seed=st.integers(0, 2**16)
)
def test_encoder_gradients_have_their_formula(estimator, power, shift, stretch, seed):
    """Against sum_k w_k**power dlogw_k/dz dz/dphi in NumPy, for arbitrary encoders and noise.

    The other power must not fit, unless all weight sits on one sample: this cannot pass trivially.
    """
    encoder = {"loc": EXACT["loc"] + shift, "log_scale": EXACT["log_scale"] + stretch}
    noise = np.random.default_rng(seed).normal(size=(6, 2)).astype(np.float32)
    gradient = GRADIENTS[estimator](as_params(encoder), noise)["encoder"]
    gradient = np.concatenate([gradient["loc"], gradient["log_scale"]])
    expected = written_out_gradient(encoder, noise, power)
    tolerance = 1e-3 * np.abs(log_weight_slope(encoder, noise)).max() + 1e-4
    assert np.abs(gradient - expected).max() < tolerance
    other = written_out_gradient(encoder, noise, 3 - power)
    weight = scipy.special.softmax(log_weight_value(encoder, noise))
    hypothesis.assume(weight.max() < 0.9 and np.abs(shift) > 0.1)
    assert np.abs(gradient - other).max() > 3 * tolerance


GRADIENTS = {
    estimator: jax.jit(jax.grad(lambda params, eps, e=estimator: bound(e, params, eps)))
    for estimator in ("stl", "dreg")
}


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_encoder_gradients_vanish_at_the_exact_posterior(estimator):
    """For every draw, where log w does not depend on z; the iwae gradient has noise of order 1."""
    gradient = flat(replicates(estimator, EXACT, 10, 500)[1])
    np.testing.assert_allclose(gradient, 0.0, atol=2e-4)
    assert flat(replicates("iwae", EXACT, 10, 500)[1]).std(0).min() > 0.1


# --- doubly_reparameterized under transformations ----------------------------------------------


def test_dreg_with_pytrees_jit_vmap_and_closed_over_traced_values(generator):
    """z as {shared, private}; log-weights close over a value that is traced and has a gradient.

    Expected: the two gradients sum_k w_k f_k' and sum_k w_k**2 f_k' from the weights in NumPy, for
    log w = scale * c * (sum of shared + 2 sum of private).
    """
    z = {
        "shared": jnp.asarray(generator.normal(size=(5, 3, 2)), jnp.float32),
        "private": jnp.asarray(generator.normal(size=(5, 3, 4)), jnp.float32),
    }
    scale, c = jnp.float32(0.7), jnp.asarray([0.5, 1.0, -0.3], jnp.float32)

    def value(scale, z, c):
        def log_weight_fn(params, z):
            return params * c[None] * (z["shared"].sum(-1) + 2 * z["private"].sum(-1))

        return objectives.doubly_reparameterized(log_weight_fn)(scale, z)

    total = np.asarray(z["shared"].sum(-1) + 2 * z["private"].sum(-1), np.float64)
    w = scipy.special.softmax(0.7 * np.asarray(c) * total, 0)
    expected = {
        "value": scipy.special.logsumexp(0.7 * np.asarray(c) * total, 0) - np.log(5),
        "scale": np.sum(w * np.asarray(c) * total),
        "c": np.sum(w * 0.7 * total, 0),
        "shared": np.repeat((w**2 * 0.7 * np.asarray(c))[..., None], 2, -1),
        "private": np.repeat((w**2 * 1.4 * np.asarray(c))[..., None], 4, -1),
    }

    def check(out, gradient):
        by_scale, by_z, by_c = gradient
        got = {"value": out, "scale": by_scale, "c": by_c, **by_z}
        for name, wanted in expected.items():
            np.testing.assert_allclose(got[name], wanted, rtol=1e-4, atol=1e-5, err_msg=name)

    gradient = jax.grad(lambda *a: value(*a).sum(), (0, 1, 2))
    check(value(scale, z, c), gradient(scale, z, c))
    check(jax.jit(value)(scale, z, c), jax.jit(gradient)(scale, z, c))
    # vmap over the batch axis: each batch member alone, gradients of shared values add up.
    columns = jax.tree.map(lambda leaf: leaf[:, :, None], z)
    mapped = jax.jit(jax.vmap(jax.value_and_grad(lambda *a: value(*a)[0], (0, 1, 2)), (None, 1, 0)))
    out, (by_scale, by_z, by_c) = mapped(scale, columns, c[:, None])
    by_z = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, :, 0], 0, 1), by_z)
    check(out, (by_scale.sum(0), by_z, by_c[:, 0]))


def test_dreg_costs_no_second_forward_pass_once_compiled():
    """Compiled floating-point operations of value and gradient, decoder of two large products.

    Two forward passes instead of one would add about a third.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "in": jax.random.normal(keys[0], (16, 256)),
        "out": jax.random.normal(keys[1], (256, 256)) / 16,
    }
    z = jax.random.normal(keys[2], (4, 8, 16))

    def log_weight_fn(params, z):
        hidden = jax.nn.relu(z.reshape(32, 16) @ params["in"]) @ params["out"]
        return -jnp.square(jnp.tanh(hidden)).sum(-1).reshape(4, 8)

    def flops(bound):
        step = jax.jit(jax.value_and_grad(lambda p, z: bound(p, z).sum(), (0, 1)))
        cost = step.lower(params, z).compile().cost_analysis()
        return (cost[0] if isinstance(cost, list) else cost)["flops"]

    plain = flops(lambda p, z: objectives.iwae(log_weight_fn(p, z)))
    doubly = flops(objectives.doubly_reparameterized(log_weight_fn))
    assert plain > 3 * 2 * 32 * 256 * 256  # forward and two backward products were counted
    assert doubly < 1.15 * plain
