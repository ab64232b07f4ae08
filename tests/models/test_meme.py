"""MEME against its formulas in NumPy, and against worlds whose likelihoods are known."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

from configs import common
from configs import meme as config_file
from mmvae_jax import configuration, inference, models, runner
from mmvae_jax.evaluation import driver
from mmvae_jax.models import pseudo_samples
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.meme import MEME
from mmvae_jax.types import ModalitySpec, UserError

NOISE = 1.2
SIZES = (4, 3, 5)
PAIRS = np.array([[1, 1], [1, 1], [1, 0], [0, 1], [1, 0], [0, 0]], bool)
TRIPLES = np.array(
    [[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0]], bool
)
# These programs run once or twice: compiling them takes far longer than running them.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
PAPER = {"label_coefficient": 1.0, "directions": "mean", "divergence": "sampled"}
CODE = {"label_coefficient": 10.0, "directions": "sum", "divergence": "analytic"}


def spec(index: int, *, hidden: tuple[int, ...] = (), weight: float | None = None) -> ModalitySpec:
    return ModalitySpec(
        name=f"m{index}",
        shape=(SIZES[index],),
        dtype="float32",
        likelihood="normal",
        likelihood_scale=NOISE,
        weight=1.0 - 0.3 * index if weight is None else weight,
        network="mlp",
        network_options=(("hidden", hidden),),
    )


def build(count: int = 2, **options) -> MEME:
    """A model with linear networks unless ``hidden`` says otherwise."""
    family, dim = options.pop("family", "normal"), options.pop("dim", 2)
    hidden, weight = options.pop("hidden", ()), options.pop("weight", None)
    specs = tuple(spec(i, hidden=hidden, weight=weight) for i in range(count))
    sizes = {"num_samples": 3, "num_pseudo": 4}
    return MEME(specs=specs, shared=LatentSpace(dim, family), **{**sizes, **options})


def data(rows: int, count: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        f"m{i}": generator.normal(size=(rows, SIZES[i])).astype(np.float32) for i in range(count)
    }


def present_of(patterns: np.ndarray) -> dict[str, np.ndarray]:
    return {f"m{i}": np.ascontiguousarray(column) for i, column in enumerate(patterns.T)}


@functools.cache
def parameters(count: int, num_pseudo: int = 4):
    """Trained by nobody; no option changes their shapes."""
    patterns = PAIRS if count == 2 else TRIPLES
    x = data(len(patterns), count)
    batch = models.prepare({"x": x, "present": present_of(patterns)})
    model = build(count, combination="product", num_pseudo=num_pseudo)
    return jit(model.init)(jax.random.key(1), batch)["params"]


def make_call(model: MEME):
    """Jitted (params, x, present) -> loss [B], terms and the gradient of the summed loss."""

    @jit
    def call(params, x, present):
        batch = models.prepare({"x": x, "present": present})

        def total(params):
            loss, terms = model.loss({"params": params}, jax.random.key(2), batch, jnp.int32(0))
            return loss.sum(), (loss, terms)

        (_, (loss, terms)), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return loss, terms, gradient

    return call


SETTINGS = {
    "paper": (2, PAPER),
    "code": (2, CODE),
    "laplace": (2, {**PAPER, "combination": "mixture", "family": "laplace"}),
    "product": (3, {**PAPER, "combination": "product"}),
    "product-code": (3, {**CODE, "combination": "product"}),
    "mixture": (3, {**PAPER, "combination": "mixture", "directions": "sum"}),
}


@functools.cache
def setting(name: str):
    """(model, its call), each compiled once for all tests."""
    count, options = SETTINGS[name]
    model = build(count, **options)
    return model, make_call(model)


@pytest.fixture
def model() -> MEME:
    return setting("paper")[0]


@pytest.fixture
def call():
    return setting("paper")[1]


@pytest.fixture
def params():
    return parameters(2)


# --- the formulas in NumPy, one row and one source at a time ------------------------------------


def dense(params, x):
    layer = params["Dense_0"]
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def encoder(params, index, x):
    loc, raw = np.split(dense(params["encoder"][f"m{index}"]["shared"], x), 2, axis=-1)
    return loc, np.log1p(np.exp(raw)) + 1e-6


def product(experts):
    precision = sum(scale**-2 for _, scale in experts)
    return sum(loc * scale**-2 for loc, scale in experts) / precision, precision**-0.5


def kl_in_numpy(q, p):
    (m, s), (n, t) = q, p
    return (np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5).sum(-1)


class Formula:
    """The objective of one row; options are read from the model, arrays from its parameters."""

    def __init__(self, model: MEME, params, x, noise):
        self.model, self.params, self.x, self.noise = model, params, x, noise
        self.family = {"normal": stats.norm, "laplace": stats.laplace}[model.shared.family]

    def log_q(self, expert, z):
        return self.family(*expert).logpdf(z).sum(-1)

    def log_px(self, index, z, row):
        spec = self.model.specs[index]
        loc = dense(self.params["decoder"][spec.name], z)
        return spec.weight * stats.norm(loc, NOISE).logpdf(self.x[spec.name][row]).sum()

    def log_combined(self, experts, z):
        if self.model.combination == "mixture":
            return special.logsumexp([self.log_q(e, z) for e in experts]) - np.log(len(experts))
        return self.log_q(product(experts), z)

    def direction(self, source, others, row):
        """Eq. 6 without log p(t), or Eq. 4 where there are no others; and the weight."""
        q = encoder(self.params, source, self.x[f"m{source}"][row])
        z = q[0] + q[1] * self.noise[:, source, row]  # [K + 1, D]
        log_t = np.array([sum(self.log_px(o, zk, row) for o in others) for zk in z])
        log_label = special.logsumexp(log_t) - np.log(len(log_t))
        weight = np.exp(log_t[0] - log_label)
        if not others:
            every = [i for i in range(len(self.model.specs)) if i != source]
            pseudo = {
                i: encoder(self.params, i, np.asarray(self.params["pseudo"][f"m{i}"], np.float64))
                for i in every
            }
            each = [
                self.log_combined([(pseudo[i][0][n], pseudo[i][1][n]) for i in every], z[0])
                for n in range(self.model.num_pseudo)
            ]
            ratio = special.logsumexp(each) - np.log(len(each)) - self.log_q(q, z[0])
        else:
            experts = [encoder(self.params, o, self.x[f"m{o}"][row]) for o in others]
            if self.model.divergence == "analytic":
                ratio = -kl_in_numpy(q, product(experts))
            else:
                ratio = self.log_combined(experts, z[0]) - self.log_q(q, z[0])
        bracket = self.log_px(source, z[0], row) + ratio - log_t[0]
        return weight * bracket + self.model.label_coefficient * log_label, weight

    def log_label(self, source, others, row):
        """The estimate of log q(t | s)."""
        q = encoder(self.params, source, self.x[f"m{source}"][row])
        z = q[0] + q[1] * self.noise[:, source, row]
        each = [sum(self.log_px(o, zk, row) for o in others) for zk in z]
        return special.logsumexp(each) - np.log(len(each))

    def row(self, pattern, row):
        here = list(np.flatnonzero(pattern))
        bounds = [self.direction(s, [o for o in here if o != s], row)[0] for s in here]
        if not bounds:
            return 0.0
        return np.mean(bounds) if self.model.directions == "mean" else np.sum(bounds)


def formula(model, params, x, rows):
    shape = (model.num_samples + 1, len(model.specs), rows, model.shared.dim)
    draw = jax.random.normal if model.shared.family == "normal" else jax.random.laplace
    return Formula(model, params, x, np.asarray(draw(jax.random.key(2), shape), np.float64))


@pytest.mark.parametrize("name", SETTINGS)
def test_objective_against_numpy(name):
    """Rows of every kind, likelihoods with weights, on the noise that the model draws."""
    model, call = setting(name)
    count = len(model.specs)
    patterns = PAIRS if count == 2 else TRIPLES
    params, x = parameters(count), data(len(patterns), count)
    loss, terms, _ = call(params, x, present_of(patterns))
    reference = formula(model, params, x, len(patterns))
    expected = [reference.row(pattern, row) for row, pattern in enumerate(patterns)]
    np.testing.assert_allclose(-loss, expected, rtol=2e-5, atol=2e-4)
    np.testing.assert_array_equal(terms["bound"], -loss)
    weight = reference.direction(0, list(range(1, count)), 0)[1]
    np.testing.assert_allclose(terms["weight/m0"][0], weight, rtol=1e-4)
    assert 0 < weight <= model.num_samples + 1


# --- worlds whose likelihood is known -----------------------------------------------------------


def exact_world(num_samples: int, moved: float = 0.0):
    """p(z) = N(0, 1), linear decoders, and encoders that are the exact single posteriors.

    Then p(s|z) p(z|t) / (q(z|s) q(t|z)) = p(s) / p(t) at every z.
    """
    generator = np.random.default_rng(3)
    model = build(dim=1, num_samples=num_samples, weight=1.0, **PAPER)
    params = {"encoder": {}, "decoder": {}, "likelihood": {}, "pseudo": {}}
    loadings = []
    for s in model.specs:
        a, b = generator.normal(size=s.shape), generator.normal(size=s.shape)
        variance = 1 / (1 + a @ a / NOISE**2)
        to_mean = variance * a / NOISE**2
        raw = np.log(np.expm1(np.sqrt(variance) - 1e-6))
        kernel = jnp.float32(np.stack([to_mean, np.zeros_like(a)], 1))
        bias = jnp.float32([moved - to_mean @ b, raw + moved])
        params["encoder"][s.name] = {"shared": {"Dense_0": {"kernel": kernel, "bias": bias}}}
        params["decoder"][s.name] = {"Dense_0": {"kernel": jnp.float32(a[None]), "bias": b}}
        params["decoder"][s.name]["Dense_0"]["bias"] = jnp.float32(b)
        params["likelihood"][s.name] = {}
        params["pseudo"][s.name] = jnp.zeros((4, *s.shape))
        loadings.append((a, b))
    return model, params, loadings


def log_marginals(loadings, x):
    """log p(s), log p(t), log p(s, t) of the exact world."""

    def log_p(*parts):
        a, b = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        covariance = np.outer(a, a) + NOISE**2 * np.eye(len(a))
        return stats.multivariate_normal(b, covariance)

    (s, t), (x_s, x_t) = loadings, (x["m0"], x["m1"])
    both = log_p(s, t).logpdf(np.concatenate([x_s, x_t], 1))
    return log_p(s).logpdf(x_s), log_p(t).logpdf(x_t), both


def draws_of_the_bound(model, params, x, keys: int):
    batch = models.prepare({"x": x})

    @jit
    def evaluate(rng):
        call = jax.vmap(lambda key: model.loss({"params": params}, key, batch, jnp.int32(0))[1])
        return call(jax.random.split(rng, keys))

    return {name: np.asarray(v, np.float64) for name, v in evaluate(jax.random.key(5)).items()}


def test_with_exact_encoders_the_pair_has_its_conditional_likelihood():
    """Half of log p(s|t) + log p(t|s), from below, closer as K grows; the weight has mean 1."""
    x = data(6)
    gaps = []
    for samples in (1, 60):
        model, params, loadings = exact_world(samples)
        found = draws_of_the_bound(model, params, x, 2000)
        log_s, log_t, both = log_marginals(loadings, x)
        exact = both - (log_s + log_t) / 2
        error = found["bound"].std(0) / np.sqrt(2000)
        gaps.append((exact - found["bound"].mean(0)).mean())
        assert np.all(found["bound"].mean(0) < exact + 4 * error)
        for name in ("weight/m0", "weight/m1"):
            error = found[name].std(0) / np.sqrt(2000)
            np.testing.assert_array_less(np.abs(found[name].mean(0) - 1), 4 * error)
            assert found[name].max() <= samples + 1 + 1e-4
    assert gaps[1] < 0.02 < 0.05 < gaps[0]


def test_with_other_encoders_it_stays_below():
    """The prior is p(z|t) itself: log p(s|t) = log N(s; A m + b, A V A' + noise)."""
    x = data(6)
    model, params, loadings = exact_world(60, moved=0.3)
    found = draws_of_the_bound(model, params, x, 500)
    exact = np.zeros(6)
    for source, other in ((0, 1), (1, 0)):
        loc, scale = encoder(params, other, x[f"m{other}"])
        a, b = loadings[source]
        for row in range(6):
            covariance = scale[row] ** 2 * np.outer(a, a) + NOISE**2 * np.eye(len(a))
            world = stats.multivariate_normal(a * loc[row] + b, covariance)
            exact[row] += world.logpdf(x[f"m{source}"][row]) / 2
    mean, error = found["bound"].mean(0), found["bound"].std(0) / np.sqrt(500)
    assert np.all(mean < exact + 4 * error)
    assert np.all(mean > exact - 3.0)


def test_one_modality_with_one_pseudo_sample_has_the_elbo_of_that_prior():
    """E L(s) = log p(s) - KL(q(z|s) || p(z|s)) with p(z) = p(z | u) of the other modality."""
    model = build(num_pseudo=1, num_samples=1, weight=1.0, **PAPER)
    patterns = np.array([[1, 0], [0, 1], [1, 0]], bool)
    params, x = parameters(2, 1), data(3)
    batch = models.prepare({"x": x, "present": present_of(patterns)})

    @jit
    def evaluate(rng):
        call = jax.vmap(lambda key: model.loss({"params": params}, key, batch, jnp.int32(0))[0])
        return -call(jax.random.split(rng, 4000))

    found = np.asarray(evaluate(jax.random.key(0)), np.float64)
    for row, source in enumerate((0, 1, 0)):
        u = np.asarray(params["pseudo"][f"m{1 - source}"], np.float64)[0]
        loc, scale = encoder(params, 1 - source, u)
        layer = params["decoder"][f"m{source}"]["Dense_0"]
        a = np.asarray(layer["kernel"], np.float64).T
        b = np.asarray(layer["bias"], np.float64)
        s = x[f"m{source}"][row]
        covariance = a @ np.diag(scale**2) @ a.T + NOISE**2 * np.eye(len(s))
        log_p = stats.multivariate_normal(a @ loc + b, covariance).logpdf(s)
        precision = np.diag(scale**-2) + a.T @ a / NOISE**2
        mean = np.linalg.solve(precision, loc / scale**2 + a.T @ (s - b) / NOISE**2)
        q_loc, q_scale = encoder(params, source, s)
        away = q_loc - mean
        kl = 0.5 * (np.trace(precision * q_scale**2) + away @ precision @ away - 2)
        kl -= np.log(q_scale).sum() + 0.5 * np.linalg.slogdet(precision)[1]
        error = found[:, row].std() / np.sqrt(4000)
        assert abs(found[:, row].mean() - (log_p - kl)) < 4 * error


# --- gradients ----------------------------------------------------------------------------------


def any_gradient(tree) -> bool:
    return any(np.any(leaf) for leaf in jax.tree.leaves(tree))


def test_a_row_of_one_modality_trains_all_but_the_decoder_of_the_other(params, call):
    """Sec. 3.3; the pseudo-samples of s itself have no part in it."""
    x = data(6)
    only_s = np.array([[1, 0]] * 6, bool)
    _, _, gradient = call(params, x, present_of(only_s))
    for trained in (
        gradient["encoder"]["m0"],
        gradient["encoder"]["m1"],
        gradient["decoder"]["m0"],
        gradient["pseudo"]["m1"],
    ):
        assert all(np.any(leaf) for leaf in jax.tree.leaves(trained))
    assert not any_gradient(gradient["decoder"]["m1"])
    assert not any_gradient(gradient["pseudo"]["m0"])


def test_complete_rows_train_every_network_and_no_pseudo_sample(params, call):
    _, _, gradient = call(params, data(6), present_of(np.ones((6, 2), bool)))
    assert not any_gradient(gradient["pseudo"])
    for part in ("encoder", "decoder"):
        assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient[part]))


def test_the_weight_is_a_constant_of_the_gradient(params, call):
    """The decoders' gradient against finite differences in which the weights stay as they are."""
    x, whole = data(6), np.ones((6, 2), bool)
    _, _, gradient = call(params, x, present_of(whole))
    reference = formula(build(**PAPER), params, x, 6)
    weights = {
        (s, row): reference.direction(s, [1 - s], row)[1] for s in (0, 1) for row in range(6)
    }

    def total(shift):
        moved = jax.tree.map(np.asarray, params)
        layer = dict(moved["decoder"]["m1"]["Dense_0"])
        layer["bias"] = layer["bias"].astype(np.float64) + shift
        moved = {**moved, "decoder": {**moved["decoder"], "m1": {"Dense_0": layer}}}
        here = Formula(reference.model, moved, x, reference.noise)
        bound = 0.0
        for (s, row), fixed in weights.items():
            whole, weight = here.direction(s, [1 - s], row)
            log_label = here.log_label(s, [1 - s], row)
            bound += 0.5 * (fixed * (whole - log_label) / weight + log_label)
        return -bound

    step = 1e-4
    for index in range(SIZES[1]):
        shift = step * np.eye(SIZES[1])[index]
        expected = (total(shift) - total(-shift)) / (2 * step)
        found = gradient["decoder"]["m1"]["Dense_0"]["bias"][index]
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_missing_is_absent_bit_for_bit(params, call):
    x, present = data(6), present_of(PAIRS)
    changed = {k: np.where(present[k][:, None], v, np.float32(-1e6)) for k, v in x.items()}
    first, second = call(params, x, present), call(params, changed, present)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))


@pytest.mark.parametrize("combination", ["product", "mixture"])
def test_missing_is_absent_with_three_modalities(combination):
    params, x, present = parameters(3), data(8, 3), present_of(TRIPLES)
    call = setting(combination)[1]
    changed = {k: np.where(present[k][:, None], v, np.float32(-1e6)) for k, v in x.items()}
    first, second = call(params, x, present), call(params, changed, present)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))
    assert first[0][-1] == 0.0  # nothing present
    # A row that lacks m2 has no use for anything of it; a row that has m0 alone, for its decoder.
    _, _, gradient = call(params, x, present_of(np.array([[1, 1, 0]] * 8, bool)))
    for part in ("encoder", "decoder", "pseudo"):
        assert not any_gradient(gradient[part]["m2"])
    _, _, gradient = call(params, x, present_of(np.array([[1, 0, 0]] * 8, bool)))
    assert any_gradient(gradient["encoder"]["m2"]) and any_gradient(gradient["pseudo"]["m2"])
    assert not any_gradient(gradient["decoder"]["m2"])
    assert call._cache_size() == 1


def test_rows_of_all_kinds_share_one_program(params, call):
    for patterns in (PAIRS, PAIRS[::-1]):
        call(params, data(6), present_of(patterns))
    assert call._cache_size() == 1  # every other test's calls counted too


def test_finite_at_extreme_posteriors_and_decoders(params, call):
    """Scales near 1e-4 and near 1e3, decoder biases of +-50."""
    for raw in (-9.2, 1e3):
        wide = jax.tree.map(lambda p: p, params)
        for i in range(2):
            layer = wide["encoder"][f"m{i}"]["shared"]["Dense_0"]
            layer["bias"] = layer["bias"].at[2:].set(raw)
            layer = wide["decoder"][f"m{i}"]["Dense_0"]
            layer["bias"] = layer["bias"] + 50.0 * (-1) ** i
        found = call(wide, data(6), present_of(PAIRS))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


# --- answers ------------------------------------------------------------------------------------


def test_each_modality_is_embedded_by_its_own_encoder(model, params):
    x = data(6)

    @jit
    def answers(params):
        variables, batch = (
            {"params": params},
            models.prepare({"x": x, "present": present_of(PAIRS)}),
        )
        alone = model.embed(variables, batch, ("m0",))["shared"]
        return alone, model.embed(variables, batch)["shared"], model.encode(variables, batch).strata

    alone, both, strata = answers(params)
    loc = [encoder(params, i, x[f"m{i}"])[0] for i in range(2)]
    np.testing.assert_allclose(alone[0], loc[0][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both[0], (loc[0][0] + loc[1][0]) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(strata[:, :5], PAIRS[:5].T)


def test_generation_draws_from_the_mixture_over_all_pseudo_samples(model, params):
    """Linear decoders: mean and covariance of what they give follow from the mixture's."""
    draws = jit(lambda p: model.generate({"params": p}, jax.random.key(0), 20_000))(params)
    parts = [encoder(params, i, np.asarray(params["pseudo"][f"m{i}"])) for i in range(2)]
    loc, scale = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    covariance = np.cov(loc.T, bias=True) + np.diag((scale**2).mean(0))
    for i in range(2):
        layer = params["decoder"][f"m{i}"]["Dense_0"]
        a = np.asarray(layer["kernel"]).T
        mean = a @ loc.mean(0) + np.asarray(layer["bias"])
        found = np.asarray(draws[f"m{i}"], np.float64)
        expected = a @ covariance @ a.T
        error = np.sqrt(np.diag(expected) / 20_000)
        np.testing.assert_array_less(np.abs(found.mean(0) - mean), 4 * error)
        np.testing.assert_allclose(np.cov(found.T), expected, atol=0.06 * expected.max())


def test_there_is_no_likelihood_and_the_reason_is_said(model, params):
    batch = models.prepare({"x": data(2)})
    with pytest.raises(NotImplementedError, match=r"defines no prior p\(z\)"):
        model.log_weights({"params": params}, jax.random.key(0), batch, model.names, (), 2)


def test_what_it_cannot_be_is_said():
    specs = tuple(spec(i) for i in range(3))
    space = LatentSpace(2)
    with pytest.raises(UserError, match=r"data have 3; set config.data.num_modalities = 2, or"):
        MEME(specs=specs, shared=space)
    with pytest.raises(UserError, match="needs two modalities"):
        MEME(specs=specs[:1], shared=space)
    with pytest.raises(UserError, match="no private spaces, but 'a' asks for one"):
        MEME(specs=(ModalitySpec(name="a", shape=(4,), private_dim=2), specs[0]), shared=space)
    with pytest.raises(UserError, match="'analytic': there is none to a mixture"):
        MEME(specs=specs, shared=space, combination="mixture", divergence="analytic")
    with pytest.raises(UserError, match="'laplace': a product of experts needs 'normal'"):
        MEME(specs=specs[:2], shared=LatentSpace(2, "laplace"))


# --- pseudo-samples -----------------------------------------------------------------------------


def test_pseudo_samples_start_as_the_rows_that_are_there():
    generator = np.random.default_rng(0)
    specs = (
        ModalitySpec(name="image", shape=(2, 2, 1)),
        ModalitySpec(name="tokens", shape=(2,), dtype="int32", num_classes=3),
        spec(0),
    )
    rows = {
        "image": generator.random((3, 2, 2, 1)).astype(np.float32),
        "tokens": np.eye(3, dtype=np.float32)[[[0, 1], [2, 2], [1, 0]]],
        "m0": data(3)["m0"],
    }

    @jit
    def start(rng):
        present = jnp.array([True, False, True])

        def make(s, count, how):
            free = pseudo_samples.initial(rng, s, rows[s.name], present, count, how)
            return pseudo_samples.inputs(s, free)

        return [(make(s, 5, "data"), make(s, 500, "noise")) for s in specs]

    greys = (0.5, 1 / 3, 0.0)
    for s, grey, (copies, noise) in zip(specs, greys, start(jax.random.key(0)), strict=True):
        x = rows[s.name]
        for n, row in enumerate((0, None, 2, 0, None)):
            expected = np.full(x.shape[1:], grey) if row is None else x[row]
            # A margin of 0.05 and noise of 0.1 before the sigmoid, softmax or nothing.
            np.testing.assert_allclose(copies[n], expected, atol=0.4 if s.name == "m0" else 0.13)
        assert float(noise.mean()) == pytest.approx(grey, abs=0.05)
        if s.num_classes:
            np.testing.assert_allclose(copies.sum(-1), np.ones(copies.shape[:-1]), rtol=1e-5)


def test_a_label_is_supervised_and_has_relaxed_pseudo_samples():
    """An image-like vector and a class: rows of the vector alone move the pseudo-classes."""
    label = ModalitySpec(
        name="y",
        shape=(),
        dtype="int32",
        likelihood="categorical",
        num_classes=3,
        network="mlp",
        network_options=(("hidden", ()),),
    )
    model = MEME(specs=(spec(0), label), shared=LatentSpace(2), num_pseudo=6, num_samples=2)
    x = {"m0": data(4)["m0"], "y": np.array([0, 1, 2, 1], np.int32)}
    present = {"m0": np.array([1, 1, 0, 0], bool), "y": np.array([1, 0, 1, 0], bool)}
    batch = models.prepare({"x": x, "present": present})
    params = jit(model.init)(jax.random.key(0), batch)["params"]
    assert params["pseudo"]["y"].shape == (6, 3)

    @jit
    def call(params):
        def total(params):
            loss, _ = model.loss({"params": params}, jax.random.key(2), batch, jnp.int32(0))
            return loss.sum(), loss

        return jax.grad(total, has_aux=True)(params)

    gradient, loss = call(params)
    assert np.all(np.isfinite(loss)) and loss[3] == 0.0
    assert np.any(gradient["pseudo"]["y"]) and np.any(gradient["pseudo"]["m0"])
    np.testing.assert_allclose(gradient["pseudo"]["y"].sum(-1), np.zeros(6), atol=1e-5)
    # Row 1 has the vector alone: Eq. 4 with the softmax of the free numbers as relaxed classes.
    noise = np.asarray(jax.random.normal(jax.random.key(2), (3, 2, 4, 2)), np.float64)[0, 0, 1]
    loc, scale = encoder(params, 0, x["m0"][1])
    z = loc + scale * noise
    u = special.softmax(np.asarray(params["pseudo"]["y"], np.float64), -1)
    raw = dense(params["encoder"]["y"]["shared"], u)
    prior = stats.norm(raw[:, :2], np.log1p(np.exp(raw[:, 2:])) + 1e-6).logpdf(z).sum(-1)
    expected = stats.norm(dense(params["decoder"]["m0"], z), NOISE).logpdf(x["m0"][1]).sum()
    expected += special.logsumexp(prior) - np.log(6) - stats.norm(loc, scale).logpdf(z).sum()
    np.testing.assert_allclose(-loss[1], expected, rtol=1e-4)


# --- configs and runs ---------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", sorted(common.DATASETS))
@pytest.mark.parametrize("variant", ["paper", "code"])
def test_its_config_is_valid_and_builds(dataset, variant):
    values = config_file.get_config(f"dataset={dataset},variant={variant}").to_dict()
    configuration.validate(values)
    keys = dict(configuration.flat(values)).keys()
    assert keys == set(configuration.rules_for("meme", dataset)) | {"data.dir"}
    assert values["data"].get("num_modalities", 2) == 2
    assert common.DATASETS["polymnist"].num_modalities == 5  # the shared section stays as it is
    specs = (ModalitySpec(name="a", shape=(28, 28, 3)), spec(0))
    model = models.build(values, models.specs_from_config(values["model"], specs))
    model.check()
    assert isinstance(model, MEME)
    assert (model.label_coefficient, model.directions) == {
        "paper": (1, "mean"),
        "code": (10, "sum"),
    }[variant]


def test_a_run_without_a_likelihood_is_evaluated_loaded_and_used(tmp_path, monkeypatch):
    """One command on partial data: no validation bound, so that the latest step is the best."""
    monkeypatch.setattr(driver, "METRICS", {"bound/test": driver.METRICS["bound/test"]})
    values = config_file.get_config().to_dict()
    values.update(num_epochs=2, batch_size=16)
    values["data"].update(
        num_train=64, num_validation=16, num_test=24, partial="independent", observed=0.6
    )
    values["model"].update(network="mlp", shared_dim=2, num_pseudo=4)
    values["model"]["network_options"]["mlp"] = {"hidden": [8]}
    values["objective"]["num_samples"] = 1
    values["training"]["log_every"] = 3
    values["evaluation"].update(batch_size=16, figures=False)
    runner.train(values, tmp_path / "run", command="a test")
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "defines no prior p(z)" in stored["skipped"]["bound/test"]
    trained = inference.load(tmp_path / "run", step="best")
    assert trained.step == 8
    assert trained.generate(3)["m1"].shape == (3, 16, 16, 3)
    given = {"m0": np.zeros((2, 16, 16, 3), np.uint8)}
    assert trained.impute(given, 2)["m1"].shape == (2, 16, 16, 3)
    assert trained.encode(given)["shared"].shape == (2, 2)
    with pytest.raises(NotImplementedError, match=r"defines no prior p\(z\)"):
        trained.log_likelihood(given)


# --- training -----------------------------------------------------------------------------------


def test_training_makes_one_modality_find_the_other():
    """Two views of one number, some missing: the loss falls, and one view predicts the other."""
    generator = np.random.default_rng(0)
    z, directions = generator.normal(size=(256, 1)), generator.normal(size=(2, 5))
    x = {
        f"m{i}": np.float32(2 * z * directions[i, :size] + 0.1 * generator.normal(size=(256, size)))
        for i, size in enumerate(SIZES[:2])
    }
    present = {name: generator.random(256) < 0.8 for name in x}
    model = build(hidden=(16,), weight=1.0, num_pseudo=16, label_coefficient=2.0)
    batch = models.prepare({"x": x, "present": present})
    optimizer = optax.adam(1e-2)

    @jit
    def train(variables):
        def step(carry, index):
            params, state = carry

            def mean_loss(params):
                rng = jax.random.fold_in(jax.random.key(1), index)
                return model.loss({"params": params}, rng, batch, index)[0].mean()

            loss, gradient = jax.value_and_grad(mean_loss)(params)
            with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
                updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        start = (variables["params"], optimizer.init(variables["params"]))
        (params, _), losses = jax.lax.scan(step, start, jnp.arange(200))
        whole = models.prepare({"x": x})
        made = model.conditional({"params": params}, jax.random.key(3), whole, ("m0",), 1)
        return losses, made["m1"][0]

    losses, made = train(jit(model.init)(jax.random.key(0), batch))
    assert losses[0] - losses[-10:].mean() > 20.0  # measured: 33.3 to 7.0
    error = np.square(made - x["m1"]).mean() / np.square(x["m1"]).mean()
    assert error < 0.1  # measured: 0.03
