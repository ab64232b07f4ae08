"""The hybrid latent space against numerical integration, SciPy and its own samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mmvae_jax.models.hybrid_latents import HybridLatents

# Two binary categoricals, one of three classes, one more binary, two Gaussian coordinates.
MIXED = HybridLatents((2, 2, 3, 2), 2, temperature=0.5)
BLOCKS = (slice(0, 2), slice(2, 4), slice(4, 7), slice(7, 9))
DRAWS = 20_000
EXPERTS, ROWS = 3, 4


def log_concrete(logits, log_z, temperature) -> np.ndarray:
    """The density of the paper's Eq. 7, its normaliser to the power n, in float64."""
    logits, log_z = np.asarray(logits, np.float64), np.asarray(log_z, np.float64)
    n = logits.shape[-1]
    constant = scipy.special.gammaln(n) + (n - 1) * np.log(temperature)
    numerator = (logits - (temperature + 1) * log_z).sum(-1)
    denominator = n * scipy.special.logsumexp(logits - temperature * log_z, -1)
    return constant + numerator - denominator


PRESENT = np.array(
    [[True, True, False, False], [False, True, False, False], [True, False, True, False]]
)


@pytest.fixture(scope="module")
def world():
    """What the space answers for random experts, computed in one program."""

    @jax.jit
    def answers(raw):
        experts = MIXED.posterior(raw)
        q = jax.tree.map(lambda x: x[0], experts)
        code = MIXED.sample(q, jax.random.key(0))
        joint = MIXED.product(experts, PRESENT)
        return {
            "experts": experts,
            "q": q,
            "joint": joint,
            "code": code,
            "factors": MIXED.factor_log_prob(q, code),
            "total": MIXED.log_prob(q, code),
            "prior_factors": MIXED.factor_log_prob(MIXED.prior(), code),
            "prior_total": MIXED.prior_log_prob(code),
            "factor_kl": MIXED.factor_kl(experts, MIXED.prior()),
            "pairwise": MIXED.factor_log_prob(q, code[:, None]),
            "features": MIXED.features(code),
            "mean": MIXED.mean(experts),
            "joint_mean": MIXED.mean(joint),
            "alone": MIXED.product(experts, PRESENT, prior=False),
            "features_of_mean_code": MIXED.features(MIXED.mean_code(experts)),
            "draws": MIXED.sample(jax.tree.map(lambda x: x[0], joint), jax.random.key(1), (DRAWS,)),
        }

    raw = np.random.default_rng(0).normal(size=(EXPERTS, ROWS, MIXED.num_outputs))
    return jax.device_get(answers(np.asarray(raw, np.float32)))


@pytest.mark.parametrize(
    ("categories", "dim", "outputs", "size", "factors"),
    [((10,), 0, 10, 10, 1), ((2,) * 18, 0, 36, 36, 18), ((), 3, 6, 3, 3), ((3, 2), 2, 9, 7, 4)],
)
def test_sizes(categories, dim, outputs, size, factors):
    space = HybridLatents(categories, dim)
    assert (space.num_outputs, space.size, space.num_factors) == (outputs, size, factors)

    def everything(raw, present):
        q = space.posterior(raw)
        z = space.sample(q, jax.random.key(0), (5,))
        codes = (z, space.features(z), space.factor_log_prob(q, z))
        joint = space.product(q, present)
        return codes, (space.mean(q), space.mean_code(q)), q, space.prior((2, 4)), joint

    raw = jax.ShapeDtypeStruct((2, 4, outputs), jnp.float32)
    found = jax.eval_shape(everything, raw, jax.ShapeDtypeStruct((2, 4), bool))
    codes, means, q, prior, joint = jax.tree.map(lambda x: x.shape, found)
    assert codes == ((5, 2, 4, size), (5, 2, 4, size), (5, 2, 4, factors))
    assert means == ((2, 4, size), (2, 4, size))
    assert q == prior == {name: (2, *shape) for name, shape in joint.items()}


@pytest.mark.parametrize(("classes", "temperature"), [(2, 0.66), (3, 0.66), (3, 1.5)])
def test_density_integrates_to_one_on_the_simplex(classes, temperature):
    """In coordinates u with z = softmax(u, 0), whose Jacobian is the product of all z."""
    space = HybridLatents((classes,), temperature=temperature)
    axis = np.linspace(-50.0, 50.0, 501)
    grid = np.stack(np.meshgrid(*[axis] * (classes - 1), indexing="ij"), -1)
    log_z = scipy.special.log_softmax(np.pad(grid, [(0, 0)] * (classes - 1) + [(0, 1)]), -1)
    log_z = np.asarray(log_z.reshape(-1, classes), np.float32)
    logits = jnp.asarray(np.array([0.7, -0.3, 0.2])[:classes], jnp.float32)
    parameters = {"logits": logits, "loc": jnp.zeros(0), "scale": jnp.ones(0)}
    log_density = np.asarray(jax.jit(space.log_prob)(parameters, log_z), np.float64)
    integral = np.exp(log_density + log_z.sum(-1)).sum() * (axis[1] - axis[0]) ** (classes - 1)
    np.testing.assert_allclose(integral, 1.0, rtol=1e-3)


def test_log_ratios_of_samples_are_logistic_and_coordinates_gaussian(world):
    """log z_a - log z_b = (logit_a - logit_b + a Logistic variable) / T."""
    z = world["draws"]
    joint = {name: x[0] for name, x in world["joint"].items()}
    for a, b in ((0, 1), (2, 3), (4, 5), (6, 4), (7, 8)):
        gap = joint["logits"][a] - joint["logits"][b]
        expected = scipy.stats.logistic(gap / 0.5, 1 / 0.5)
        assert scipy.stats.kstest(z[:, a] - z[:, b], expected.cdf).pvalue > 1e-3
    for d in range(2):
        expected = scipy.stats.norm(joint["loc"][d], joint["scale"][d])
        assert scipy.stats.kstest(z[:, 9 + d], expected.cdf).pvalue > 1e-3
    correlation = np.corrcoef(z[:, [0, 2, 4, 7, 9, 10]].T) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(DRAWS)  # factors are independent


def test_features_lie_on_the_simplex(world):
    np.testing.assert_allclose(world["features"][:, :9], np.exp(world["code"][:, :9]), rtol=1e-5)
    np.testing.assert_array_equal(world["features"][:, 9:], world["code"][:, 9:])
    for block in BLOCKS:
        np.testing.assert_allclose(world["features"][:, block].sum(-1), np.ones(ROWS), rtol=1e-5)


def test_factors_have_their_own_densities_and_add_up(world):
    q, z = world["q"], world["code"]
    for factor, block in enumerate(BLOCKS):
        expected = log_concrete(q["logits"][:, block], z[:, block], 0.5)
        np.testing.assert_allclose(world["factors"][:, factor], expected, rtol=1e-4, atol=1e-4)
        expected = log_concrete(0.0 * q["logits"][:, block], z[:, block], 0.5)
        np.testing.assert_allclose(world["prior_factors"][:, factor], expected, rtol=1e-4)
    expected = scipy.stats.norm(q["loc"], q["scale"]).logpdf(z[:, 9:])
    np.testing.assert_allclose(world["factors"][:, 4:], expected, rtol=1e-4, atol=1e-4)
    expected = scipy.stats.norm.logpdf(z[:, 9:])
    np.testing.assert_allclose(world["prior_factors"][:, 4:], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(world["total"], world["factors"].sum(-1), rtol=1e-4)
    np.testing.assert_allclose(world["prior_total"], world["prior_factors"].sum(-1), rtol=1e-4)


def test_the_kl_of_a_factor_is_that_of_classes_or_of_gaussians(world):
    experts, found = world["experts"], world["factor_kl"]
    assert found.shape == (EXPERTS, ROWS, MIXED.num_factors)
    for factor, block in enumerate(BLOCKS):
        p = scipy.special.softmax(experts["logits"][..., block], -1)
        expected = np.log(p.shape[-1]) - scipy.stats.entropy(p, axis=-1)
        np.testing.assert_allclose(found[..., factor], expected, rtol=1e-4, atol=1e-6)
    loc, scale = experts["loc"], experts["scale"]
    expected = 0.5 * (loc**2 + scale**2 - 1) - np.log(scale)
    np.testing.assert_allclose(found[..., 4:], expected, rtol=1e-4, atol=1e-6)


def test_pairwise_densities_are_those_of_every_code_under_every_posterior(world):
    """[i, j, f]: the code of row i, the posterior of row j."""
    q, z = world["q"], world["code"]
    for j in range(ROWS):
        expected = log_concrete(q["logits"][j, 4:7], z[:, 4:7], 0.5)
        np.testing.assert_allclose(world["pairwise"][:, j, 2], expected, rtol=1e-4, atol=1e-4)
        expected = scipy.stats.norm(q["loc"][j], q["scale"][j]).logpdf(z[:, 9:])
        np.testing.assert_allclose(world["pairwise"][:, j, 4:], expected, rtol=1e-4, atol=1e-4)


def test_product_multiplies_class_probabilities_and_adds_precisions(world):
    """The argmax of its samples has the frequencies of the categorical product."""
    experts, z = world["experts"], world["draws"]
    logits = experts["logits"][0, 0] + experts["logits"][2, 0]  # who is present in the first row
    for block in BLOCKS:
        expected = scipy.special.softmax(logits[block])
        np.testing.assert_allclose(world["joint_mean"][0, block], expected, rtol=1e-5)
        found = np.bincount(z[:, block].argmax(-1), minlength=len(expected)) / DRAWS
        assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / DRAWS))
    precision = experts["scale"][[0, 2], 0] ** -2.0
    total = 1 + precision.sum(0)
    np.testing.assert_allclose(world["joint"]["scale"][0], total**-0.5, rtol=1e-5)
    loc = (precision * experts["loc"][[0, 2], 0]).sum(0) / total
    np.testing.assert_allclose(world["joint"]["loc"][0], loc, rtol=1e-4, atol=1e-5)


def test_product_of_one_is_that_expert_and_of_none_the_prior(world):
    np.testing.assert_allclose(
        world["joint_mean"][2, :9], world["mean"][2, 2, :9], rtol=1e-5, atol=1e-6
    )
    for name in ("loc", "scale"):
        expert = world["experts"][name][2, 2]
        np.testing.assert_allclose(world["alone"][name][2], expert, rtol=1e-5)
    uniform = np.repeat([1 / 2, 1 / 2, 1 / 3, 1 / 2], [2, 2, 3, 2])
    np.testing.assert_allclose(world["joint_mean"][3], [*uniform, 0.0, 0.0], rtol=1e-5)
    np.testing.assert_array_equal(world["joint"]["scale"][3], np.ones(2))


def test_the_mean_is_what_decoders_see_of_its_code(world):
    np.testing.assert_allclose(world["features_of_mean_code"], world["mean"], rtol=1e-5)
    logits = world["experts"]["logits"]
    expected = scipy.special.softmax(logits[..., 4:7], -1)
    np.testing.assert_allclose(world["mean"][..., 4:7], expected, rtol=1e-5)
    np.testing.assert_array_equal(world["mean"][..., 9:], world["experts"]["loc"])


def test_sampled_kl_has_the_true_kl_as_its_mean():
    space = HybridLatents((2,), temperature=0.66)
    logits = np.array([1.5, -0.5], np.float32)

    @jax.jit
    def kl(logits):
        q = {"logits": logits, "loc": jnp.zeros(0), "scale": jnp.ones(0)}
        z = space.sample(q, jax.random.key(0), (DRAWS,))
        return space.log_prob(q, z) - space.prior_log_prob(z)

    sampled = np.asarray(kl(logits), np.float64)
    u = np.linspace(-60.0, 60.0, 20_001)
    log_z = scipy.special.log_softmax(np.stack([u, np.zeros_like(u)], -1), -1)
    log_q, log_p = log_concrete(logits, log_z, 0.66), log_concrete(0.0 * logits, log_z, 0.66)
    exact = (np.exp(log_q + log_z.sum(-1)) * (log_q - log_p)).sum() * (u[1] - u[0])
    assert abs(sampled.mean() - exact) < 4 * sampled.std() / np.sqrt(DRAWS)


def test_entropy_of_the_mean_shows_a_collision():
    """Ten labels in ten codes: log 10. Two of them in one code: log 10 - 0.2 log 2."""
    space = HybridLatents((10,))
    entropy = jax.jit(lambda logits, weight: space.entropy_of_mean({"logits": logits}, weight))
    apart = 100 * np.eye(10, dtype=np.float32)
    collided = apart.copy()
    collided[3] = apart[7]
    every, half = np.ones(10, np.float32), np.arange(10, dtype=np.float32) < 5
    for logits, weight, expected in (
        (apart, every, np.log(10)),
        (collided, every, np.log(10) - 0.2 * np.log(2)),
        (apart, half.astype(np.float32), np.log(5)),
        (apart, 0 * every, 0.0),
    ):
        assert float(entropy(logits, weight)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.66])
def test_everything_is_finite_at_extreme_parameters(debug_nans, temperature):
    space = HybridLatents((3, 3), 2, temperature=temperature)
    logits = np.array([[50.0, -50.0, 0.0, -50.0, -50.0, 50.0]] * 2, np.float32)
    experts = {
        "logits": np.stack([logits, -logits]),
        "loc": np.array([[[30.0, -30.0]] * 2, [[-30.0, 0.0]] * 2], np.float32),
        "scale": np.array([[[1e-4, 1e3]] * 2, [[1e3, 1e-4]] * 2], np.float32),
    }

    @jax.jit
    @jax.value_and_grad
    def kl(experts):
        joint = space.product(experts, jnp.array([[True, True], [True, False]]))
        z = space.sample(joint, jax.random.key(0))
        ratio = space.log_prob(joint, z) - space.prior_log_prob(z)
        return (ratio + space.features(z).sum(-1)).sum()

    value, gradient = kl(experts)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_temperature_may_be_traced(world):
    @jax.jit
    def density(temperature):
        space = HybridLatents(MIXED.categories, MIXED.dim, temperature)
        return space.log_prob(world["q"], space.sample(world["q"], jax.random.key(0)))

    np.testing.assert_allclose(density(np.float32(0.5)), world["total"], rtol=1e-4, atol=1e-4)
    assert not np.allclose(density(np.float32(0.9)), world["total"])
