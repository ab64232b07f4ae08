"""MVAE against a second evaluation in NumPy, and against a world whose likelihood is known."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from configs import mvae as mvae_config
from mmvae_jax import configuration, experts, models
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mvae import MVAE, QuotientSpace, random_subsets
from mmvae_jax.types import ModalitySpec, UserError
from tests.models import worlds

D = 2
NOISE = 1.5
PATTERNS = np.array(list(itertools.product([False, True], repeat=3))).T  # [M, B], none too
ROWS = PATTERNS.shape[1]
MARGIN = 1e-4  # by which quotient variances stay below their bound, relatively
FLOOR = 1e-6  # of every standard deviation

both_kinds = pytest.mark.parametrize("kind", ["poe", "qoe"])


def spec(name: str, *, size: int = 4, hidden: tuple[int, ...] = (), **options) -> ModalitySpec:
    return ModalitySpec(
        name=name,
        shape=(size,),
        dtype="float32",
        likelihood="normal",
        likelihood_scale=NOISE,
        network="mlp",
        network_options=(("hidden", hidden),),
        **options,
    )


def build(kind: str = "poe", count: int = 3, *, weights=(2.0, 0.5, 1.5), dim=D, **options) -> MVAE:
    specs = tuple(
        spec(f"m{i}", weight=w)
        for i, w in zip(range(count), itertools.cycle(weights), strict=False)
    )
    space = LatentSpace(dim) if kind == "poe" else QuotientSpace(dim, num_modalities=count)
    return MVAE(specs=specs, shared=space, **options)


def make_batch(model: MVAE, present=None):
    return worlds.batch(model, ROWS if present is None else present.shape[1], present=present)


def in_numpy(drawn) -> tuple[np.ndarray, np.ndarray]:
    members, noise = drawn
    return np.asarray(members), np.asarray(noise, np.float64)


# --- the objective once more, term by term and row by row, in float64 -----------------------------


def expert(kind: str, count: int, layer, x) -> tuple[np.ndarray, np.ndarray]:
    """Location and variance of one modality's expert, for one row or more."""
    raw = x @ layer["kernel"] + layer["bias"]
    loc, raw = np.split(raw, 2, axis=-1)
    if kind == "poe":
        return loc, (np.logaddexp(0, raw) + FLOOR) ** 2
    variance = count / (count - 1) * (1 - MARGIN) * special.expit(raw)
    return loc, (np.sqrt(variance) + FLOOR) ** 2


def term_bound(kind, params, x, subset, noise, weights, beta, count) -> tuple[float, float]:
    """ELBO_S of one row for the members in ``subset``, and its KL."""
    found = {
        m: expert(kind, count, params["encoder"][m]["shared"]["Dense_0"], x[m]) for m in subset
    }
    priors = 1 if kind == "poe" or not subset else 1 - len(subset)  # how often N(0, I) is a factor
    precision = priors + sum((1 / v for _, v in found.values()), np.zeros(D))
    loc = sum((m / v for m, v in found.values()), np.zeros(D)) / precision
    z = loc + noise / np.sqrt(precision)
    log_px = 0.0
    for m in subset:
        layer = params["decoder"][m]["Dense_0"]
        mean = z @ layer["kernel"] + layer["bias"]
        log_px += weights[m] * stats.norm(mean, NOISE).logpdf(x[m]).sum()
    kl = 0.5 * (1 / precision + loc**2 - 1 + np.log(precision)).sum()
    return log_px - beta * kl, kl


def reference_loss(model, kind, params, x, drawn, beta) -> np.ndarray:
    """[B]; only the noise and the random subsets are the model's, ``drawn`` by `draws`."""
    params, x = worlds.as_float64(params), worlds.as_float64(x)
    members, noise = drawn
    present = members[0]
    count, k = len(model.specs), members.shape[0] - 1 - len(model.specs)
    lam = {s.name: s.weight for s in model.specs}
    ones = dict.fromkeys(lam, 1.0)
    losses = np.zeros(members.shape[2])
    for b in range(len(losses)):
        here = [n for n, p in zip(model.names, present[:, b], strict=True) if p]
        terms = [(s + 1 + k, [n], lam) for s, n in enumerate(model.names) if n in here]
        if len(here) > 1:
            terms.append((0, here, lam))
        if len(here) > 2:
            columns = members[1 : 1 + k, :, b]
            chosen = [[n for n, c in zip(model.names, row, strict=True) if c] for row in columns]
            terms += [(1 + j, subset, lam) for j, subset in enumerate(chosen)]
        if model.weighted_terms == "code":  # no images here: single terms run without lambda
            terms = [(s, subset, lam if s == 0 else ones) for s, subset, _ in terms]
        for s, subset, weights in terms:
            row = {n: x[n][b] for n in subset}
            losses[b] -= term_bound(kind, params, row, subset, noise[s, b], weights, beta, count)[0]
    return losses


def draws(model: MVAE, rng, batch):
    """What the loss draws from ``rng``: members [S, M, B] and standard noise [S, B, D]."""
    choose, draw = jax.random.split(rng)
    members = model.members(choose, model.present(batch))
    return members, jax.random.normal(draw, (*members.shape[::2], D))


class Problem(NamedTuple):
    """``both`` gives loss, terms, gradient and `draws`; ``traces`` counts its traces."""

    kind: str
    model: MVAE
    params: Any
    batch: Any
    both: Any
    traces: list


@pytest.fixture(scope="module", params=["poe", "qoe"])
def problem(request):
    """A model with every kind of term, and its loss and gradients, compiled once."""
    weighted_terms = "all" if request.param == "poe" else "code"
    model = build(
        request.param, num_subsets=2, beta=0.7, warmup_steps=4, weighted_terms=weighted_terms
    )
    batch = make_batch(model, PATTERNS)
    params = worlds.random_params(model)

    traces = []

    @jax.jit
    def both(params, x, present, step):
        traces.append(step)
        batch = models.prepare({"x": x, "present": present})

        def total(params):
            loss, terms = model.loss({"params": params}, jax.random.key(2), batch, step)
            return loss.sum(), (loss, terms)

        gradient, (loss, terms) = jax.grad(total, has_aux=True)(params)
        return loss, terms, gradient, draws(model, jax.random.key(2), batch)

    return Problem(request.param, model, params, batch, both, traces)


def test_loss_is_the_sum_of_its_terms(problem):
    kind, model, params, batch, both, _ = problem
    for step, beta in ((0, 0.7 / 4), (1, 0.35), (3, 0.7), (100, 0.7)):
        loss, _, _, drawn = both(params, batch["x"], batch["present"], jnp.int32(step))
        expected = reference_loss(model, kind, params, batch["x"], in_numpy(drawn), beta)
        np.testing.assert_allclose(loss, expected, rtol=2e-5, atol=1e-4)
    assert loss[0] == 0.0  # nothing present


def test_gradient_is_that_of_the_sum(problem):
    """Central differences of the second evaluation, along random directions."""
    kind, model, params, batch, both, _ = problem
    _, _, gradient, drawn = both(params, batch["x"], batch["present"], jnp.int32(9))
    for seed in range(3):
        direction = worlds.as_float64(worlds.random_params(model, 10 + seed))
        h = 1e-5
        ends = [
            reference_loss(
                model,
                kind,
                jax.tree.map(
                    lambda p, d, t=t: np.asarray(p, np.float64) + t * d, params, direction
                ),
                batch["x"],
                in_numpy(drawn),
                0.7,
            ).sum()
            for t in (-h, h)
        ]
        products = jax.tree.map(lambda g, d: float((np.asarray(g) * d).sum()), gradient, direction)
        expected = (ends[1] - ends[0]) / (2 * h)
        assert sum(jax.tree.leaves(products)) == pytest.approx(expected, rel=1e-4, abs=1e-2)


def test_metrics_are_bounds_without_weights_or_warm_up(problem):
    kind, model, params, batch, both, _ = problem
    _, terms, _, drawn = both(params, batch["x"], batch["present"], jnp.int32(0))
    _, noise = in_numpy(drawn)
    x, ones = worlds.as_float64(batch["x"]), dict.fromkeys(model.names, 1.0)
    for b in range(ROWS):
        here = [n for i, n in enumerate(model.names) if PATTERNS[i, b]]
        row = {n: x[n][b] for n in here}
        arguments = (kind, worlds.as_float64(params), row)
        bound, kl = term_bound(*arguments, here, noise[0, b], ones, 1.0, 3)
        log_px = sum(terms[f"log_px/{n}"][b] for n in model.names)
        np.testing.assert_allclose(terms["elbo"][b], bound, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(terms["kl/shared"][b], kl, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(log_px - terms["kl/shared"][b], bound, rtol=1e-4, atol=1e-4)
        for i, n in enumerate(model.names):
            if n in here:
                own, _ = term_bound(*arguments, [n], noise[3 + i, b], ones, 1.0, 3)
                np.testing.assert_allclose(terms[f"elbo/{n}"][b], own, rtol=1e-4, atol=1e-4)


def test_missing_is_absent_bit_for_bit(problem):
    """Every pattern in one batch: other content where absent changes no bit, and one program."""
    _, _, params, batch, both, traces = problem
    rng = np.random.default_rng(5)
    raw = {n: rng.normal(size=x.shape).astype(np.float32) for n, x in batch["x"].items()}
    present = {n: np.asarray(p) for n, p in batch["present"].items()}
    changed = {
        n: np.where(present[n][:, None], x, np.float32(scale))
        for (n, x), scale in zip(raw.items(), (-1e6, 1e30, np.nan), strict=True)
    }
    first, second = (both(params, x, present, jnp.int32(9)) for x in (raw, changed))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))
    assert len(traces) == 1


@pytest.mark.parametrize("size", [1e-4, 50.0, 1e3])
def test_extreme_inputs_and_raw_outputs_stay_finite(problem, size):
    _, model, params, batch, both, _ = problem
    x = jax.tree.map(lambda leaf: leaf * size, batch["x"])
    loud = jax.tree.map(lambda leaf: leaf, params)
    for sign in (-1.0, 1.0):  # scales at both ends of what they can be
        for name in model.names:
            bias = jnp.array([0.0, 0.0, sign * 50.0, sign * 50.0])
            loud["encoder"][name] = {
                "shared": {
                    "Dense_0": {**params["encoder"][name]["shared"]["Dense_0"], "bias": bias}
                }
            }
        found = both(loud, x, batch["present"], jnp.int32(9))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


def test_published_code_leaves_weights_out_of_subset_and_label_terms():
    model = build(num_subsets=1, weighted_terms="code")
    image = dataclasses.replace(model.specs[0], shape=(4, 4, 1))
    model = dataclasses.replace(model, specs=(image, *model.specs[1:]))
    np.testing.assert_array_equal(
        model.term_weights[..., 0],
        [[2.0, 0.5, 1.5], [1, 1, 1], [2.0, 1, 1], [2.0, 1, 1], [2.0, 1, 1]],
    )


# --- random subsets ------------------------------------------------------------------------------


def test_random_subsets_are_uniform_in_size_and_then_among_subsets():
    """Every row pattern of five modalities, the full one twice, 3,000 subsets each."""
    patterns = [*itertools.product([False, True], repeat=5), (True,) * 5]
    present = np.array(patterns).T
    draw = jax.jit(random_subsets, static_argnums=2)
    chosen = np.asarray(draw(jax.random.key(0), jnp.asarray(present), 3000))
    assert not np.any(chosen & ~present[None])
    pvalues = []
    for b in range(present.shape[1]):
        here = np.flatnonzero(present[:, b])
        found = Counter(tuple(np.flatnonzero(row)) for row in chosen[:, :, b])
        n = len(here)
        if n < 3:
            assert found == {(): 3000}
            continue
        expected = {
            subset: 3000 / (n - 2) / special.comb(n, size)
            for size in range(2, n)
            for subset in itertools.combinations(here, size)
        }
        assert set(found) <= set(expected)
        counts = [found[subset] for subset in expected]
        pvalues.append(stats.chisquare(counts, list(expected.values())).pvalue)
    assert min(pvalues) > 1e-3
    # Two rows of one batch draw independently: the same of 25 subsets now and then only.
    same = (chosen[..., -1] == chosen[..., -2]).all(1).mean()
    assert same == pytest.approx(sum((1 / 3 / special.comb(5, s)) for s in (2, 3, 4)) / 3, abs=0.02)


# --- a linear-Gaussian world whose posterior the family holds ------------------------------------


class TwoPoints:
    """Draws location + sign * scale: averaged over both signs, exact for separable quadratics."""

    def sample(self, parameters, rng, sample_shape=()):
        del rng, sample_shape
        return parameters["loc"] + self.sign * parameters["scale"]


@dataclasses.dataclass(frozen=True)
class PairSpace(TwoPoints, LatentSpace):
    sign: float = 1.0


@dataclasses.dataclass(frozen=True)
class PairQuotientSpace(TwoPoints, QuotientSpace):
    sign: float = 1.0


def with_two_points(model: MVAE, sign: float = 1.0) -> MVAE:
    """The model with draws that depend on nothing random."""
    if isinstance(model.shared, QuotientSpace):
        space = PairQuotientSpace(D, num_modalities=model.shared.num_modalities, sign=sign)
    else:
        space = PairSpace(D, sign=sign)
    return dataclasses.replace(model, shared=space)


def exact_world(kind: str, count: int):
    """Decoders with orthogonal columns and the encoders that hold p(z | x_m) for each of them."""
    rng = np.random.default_rng(3)
    model = build(kind, count, weights=(1.0,), num_subsets=1)
    params = {"encoder": {}, "decoder": {}, "likelihood": {}}
    for s in model.specs:
        columns = np.linalg.qr(rng.normal(size=(4, D)))[0] * rng.uniform(0.5, 2.0, size=D)
        bias, gain = rng.normal(size=4), (columns**2).sum(0)
        precision = gain / NOISE**2  # of the factor p(x_m | z)
        if kind == "poe":
            raw = np.log(np.expm1(1 / np.sqrt(precision) - FLOOR))
            kernel = columns / gain
        else:  # the expert is the factor times the prior
            variance = (1 / np.sqrt(1 + precision) - FLOOR) ** 2
            raw = special.logit(variance * (count - 1) / count / (1 - MARGIN))
            kernel = columns / NOISE**2 / (1 + precision)
        encoder = {
            "kernel": np.concatenate([kernel, np.zeros((4, D))], 1),
            "bias": np.concatenate([-bias @ kernel, raw]),
        }
        params["encoder"][s.name] = {"shared": {"Dense_0": encoder}}
        params["decoder"][s.name] = {"Dense_0": {"kernel": columns.T, "bias": bias}}
        params["likelihood"][s.name] = {}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    return model, {"params": params}


def exact_log_likelihood(model: MVAE, variables, x, names) -> np.ndarray:
    """log p(x_names), each modality's [N, 4]."""
    given = np.isin(model.names, names)
    return worlds.exact_log_likelihood(model, variables["params"], x, given)


@pytest.mark.parametrize(("kind", "count"), [("poe", 2), ("poe", 3), ("qoe", 3)])
def test_every_term_is_the_likelihood_where_the_experts_are_exact(kind, count):
    """The loss is minus the sum of log p(x_S) over complete, singles and the drawn subset."""
    model, variables = exact_world(kind, count)
    patterns = np.array(list(itertools.product([False, True], repeat=count))).T
    batch = make_batch(model, patterns)

    @jax.jit
    def both_signs(variables):
        key = jax.random.key(0)
        members = model.members(jax.random.split(key)[0], model.present(batch))
        pairs = [
            with_two_points(model, sign).loss(variables, key, batch, jnp.int32(0))
            for sign in (-1.0, 1.0)
        ]
        return members, [loss for loss, _ in pairs], [terms["elbo"] for _, terms in pairs]

    members, losses, bounds = jax.tree.map(np.asarray, both_signs(variables))
    expected, complete = np.zeros(patterns.shape[1]), np.zeros(patterns.shape[1])
    for b in range(patterns.shape[1]):
        x = {n: batch["x"][n][b : b + 1] for n in model.names}
        here = [n for n, p in zip(model.names, patterns[:, b], strict=True) if p]
        subsets = [[n] for n in here] + ([here] if len(here) > 1 else [])
        if len(here) > 2:
            subsets.append([n for n, c in zip(model.names, members[1, :, b], strict=True) if c])
            assert len(subsets[-1]) == 2  # between one and all of three
        expected[b] = -sum(exact_log_likelihood(model, variables, x, s)[0] for s in subsets)
        complete[b] = exact_log_likelihood(model, variables, x, here)[0] if here else 0.0
    np.testing.assert_allclose(np.mean(losses, 0), expected, rtol=1e-5, atol=2e-4)
    np.testing.assert_allclose(np.mean(bounds, 0), complete, rtol=1e-5, atol=2e-4)
    # With any other encoders the bound is below.
    others = {**variables["params"], "encoder": worlds.random_params(model)["encoder"]}
    _, _, bounds = both_signs({"params": others})
    assert np.all(np.mean(bounds, 0)[1:] < complete[1:] - 0.1)


def test_importance_weights_of_exact_experts_have_no_variance():
    """Every draw's log-weight is log p(x) of what is given."""
    model, variables = exact_world("qoe", 3)
    batch = make_batch(model)
    given = ("m0", "m2")
    log_w = jax.jit(lambda key: model.log_weights(variables, key, batch, given, (), 3))
    found = log_w(jax.random.key(4))
    expected = exact_log_likelihood(model, variables, batch["x"], given)
    np.testing.assert_allclose(found, np.tile(expected, (3, 1)), rtol=1e-4, atol=1e-3)


@both_kinds
def test_kl_of_products_against_numerical_integration(kind):
    model = build(kind)
    batch = make_batch(model)
    variables = {"params": worlds.random_params(model)}

    @jax.jit
    def posterior(batch):
        q = model.shared.product(model.experts(variables, batch).shared, model.present(batch))
        return q, model.shared.prior_kl(q)

    q, found = posterior(batch)
    for b in range(2):
        total = 0.0
        for loc, scale in zip(q["loc"][b], q["scale"][b], strict=True):
            density, prior = stats.norm(float(loc), float(scale)), stats.norm()
            total += integrate.quad(
                lambda z, q=density, p=prior: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)),
                loc - 12 * scale,
                loc + 12 * scale,
            )[0]
        assert float(found[b]) == pytest.approx(total, rel=1e-4, abs=1e-5)


# --- products and what is missing ----------------------------------------------------------------


@both_kinds
def test_order_of_modalities_changes_nothing(kind):
    """Posteriors and, with draws that do not depend on the order, the loss."""
    model = with_two_points(build(kind))
    batch = make_batch(model, PATTERNS)
    variables = {"params": worlds.random_params(model)}
    other = dataclasses.replace(model, specs=tuple(model.specs[i] for i in (2, 0, 1)))

    @jax.jit
    def evaluated(batch):
        found = []
        for each in (model, other):
            loss, terms = each.loss(variables, jax.random.key(0), batch, jnp.int32(0))
            posterior = each.encode(variables, batch)
            found.append((loss, terms["elbo"], posterior.shared, posterior.strata))
        return found

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *evaluated(batch)
    )


@both_kinds
def test_a_row_without_a_modality_is_a_row_of_the_smaller_model(kind):
    """With two of three modalities present, the loss of a model of those two."""
    model = with_two_points(build(kind, num_subsets=1))
    batch = make_batch(model, np.array([[True], [False], [True]]))
    variables = {"params": worlds.random_params(model)}
    smaller = dataclasses.replace(model, specs=(model.specs[0], model.specs[2]))
    pair = models.prepare({"x": {n: batch["x"][n] for n in smaller.names}})

    @jax.jit
    def losses():
        key = jax.random.key(0)
        return [
            each.loss(variables, key, rows, jnp.int32(0))[0]
            for each, rows in ((model, batch), (smaller, pair))
        ]

    np.testing.assert_allclose(*losses(), rtol=1e-5)


def test_at_test_time_the_posterior_is_the_product_of_what_is_given():
    model = build()
    batch = make_batch(model, PATTERNS)
    variables = {"params": worlds.random_params(model)}
    given = ("m0", "m2")
    shared, found, means = jax.jit(
        lambda batch: (
            model.experts(variables, batch).shared,
            model.encode(variables, batch, given),
            model.embed(variables, batch, given),
        )
    )(batch)
    for b in range(ROWS):
        here = [m for m in (0, 2) if PATTERNS[m, b]]
        precision = 1 + sum(1 / np.asarray(shared["scale"][m, b]) ** 2 for m in here)
        loc = sum(np.asarray(shared["loc"][m, b] / shared["scale"][m, b] ** 2) for m in here)
        np.testing.assert_allclose(found.shared["loc"][0, b], loc / precision, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.shared["scale"][0, b], precision**-0.5, rtol=1e-5)
    assert np.all(found.strata)  # one stratum, and where nothing is given it is the prior
    np.testing.assert_allclose(means["shared"], found.shared["loc"][0], rtol=1e-6)


# --- quotient of experts -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 19])
def test_every_subset_of_quotient_experts_is_a_density(count):
    """At any raw number, those included where float32 cannot tell the sigmoid from 1."""
    space = QuotientSpace(40, num_modalities=count)
    raw = jnp.asarray(np.random.default_rng(0).normal(size=(count, 40)) * 30, jnp.float32)
    raw = raw.at[:, 0].set(1e4).at[:, 1].set(-1e4).at[:, 2].set(30.0)
    here = jnp.arange(count)[:, None] < jnp.arange(count + 1)[None]  # [M, n]: the first n

    @jax.jit
    def products(raw):
        scale = space.scale(raw)
        every = jnp.broadcast_to(scale[:, None], (*here.shape, 40))
        return scale, space.product({"loc": jnp.ones_like(every), "scale": every}, here)

    scale, found = jax.tree.map(np.asarray, products(raw))
    precision = 1 / scale.astype(np.float64) ** 2
    assert np.all(scale > 0) and np.all(1 / precision < count / (count - 1))
    assert np.all(np.isfinite(found["loc"])) and np.all(np.isfinite(found["scale"]))
    for n in range(count + 1):
        expected = precision[:n].sum(0) - (n - 1) if n else np.ones(40)
        assert np.all(expected > 0)
        np.testing.assert_allclose(found["scale"][n] ** -2.0, expected, rtol=2e-3)


def test_quotient_is_the_product_divided_by_priors():
    space = QuotientSpace(D, num_modalities=3)
    rng = np.random.default_rng(1)
    raw = jnp.asarray(rng.normal(size=(3, ROWS, 2 * D)), jnp.float32)
    others = jnp.asarray(PATTERNS.sum(0) - 1, jnp.float32)[:, None]
    some = np.asarray(others)[:, 0] > 0

    @jax.jit
    def evaluated(raw, others):
        parameters = space.posterior(raw)
        loc, scale = parameters["loc"], parameters["scale"]
        here = jnp.asarray(PATTERNS)
        product = experts.product_of_gaussians(loc, scale, here, prior=False)
        prior = (jnp.zeros_like(others), 1 / jnp.sqrt(jnp.maximum(others, 1.0)))
        quotient = experts.quotient_of_gaussians(*product, *prior)
        return parameters, space.product(parameters, here), product, quotient

    parameters, found, product, quotient = jax.tree.map(np.asarray, evaluated(raw, others))
    variance = 1.5 * special.expit(raw[..., D:])
    np.testing.assert_allclose(parameters["scale"] ** 2, variance, rtol=3e-4)
    for index, name in enumerate(("loc", "scale")):  # one expert alone is divided by nothing
        want = np.where(some[:, None], quotient[index], product[index])
        np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=1e-5)


# --- many modalities -----------------------------------------------------------------------------


def attributes(count: int, hidden: tuple[int, ...]) -> MVAE:
    """One vector and count - 1 binary attributes."""
    vector = spec("image", hidden=hidden)
    rest = tuple(
        dataclasses.replace(vector, name=f"a{i}", shape=(1,), likelihood="bernoulli")
        for i in range(count - 1)
    )
    return MVAE(specs=(vector, *rest), shared=LatentSpace(4), num_subsets=1)


def total_loss(model: MVAE):
    def total(params, key, x, present):
        batch = models.prepare({"x": x, "present": present})
        return model.loss({"params": params}, key, batch, jnp.int32(0))[0].sum()

    return total


def attribute_batch(model: MVAE, rows: int, seed: int):
    rng = np.random.default_rng(seed)
    x = {s.name: rng.integers(2, size=(rows, *s.shape)).astype(np.float32) for s in model.specs}
    present = {s.name: rng.random(rows) < 0.5 for s in model.specs}
    return x, present


def test_nineteen_modalities_are_one_program():
    """Whatever is present in its rows."""
    model = attributes(19, ())
    params = worlds.random_params(model)
    loss = jax.jit(total_loss(model))
    losses = [loss(params, jax.random.key(s), *attribute_batch(model, 6, s)) for s in range(4)]
    assert np.all(np.isfinite(losses))
    assert loss._cache_size() == 1


def test_cost_of_a_step_is_linear_in_the_number_of_modalities():
    """Each of the last nine modalities costs what each of the five before cost; k is the same."""
    flops, products = {}, {}
    for count in (5, 10, 19):
        model = attributes(count, (32,))
        x, present = attribute_batch(model, 16, 0)
        params = worlds.random_params(model)
        step = jax.jit(jax.value_and_grad(total_loss(model)))
        lowered = step.lower(params, jax.random.key(0), x, present)
        flops[count] = lowered.cost_analysis()["flops"]
        products[count] = lowered.as_text().count("dot_general")
    assert products[5] / 5 == products[10] / 10 == products[19] / 19
    # Beside the networks there is a table [S, M, B] of scores: under 2 % with these small ones.
    early, late = (flops[10] - flops[5]) / 5, (flops[19] - flops[10]) / 9
    assert late < 1.03 * early


# --- training ------------------------------------------------------------------------------------


def two_views(rows: int):
    """Two noisy views of one angle."""
    rng = np.random.default_rng(7)
    angle = rng.uniform(0, 2 * np.pi, size=rows)
    point = 3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    x = {
        f"m{i}": point @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(rows, 4)) for i in (0, 1)
    }
    return {n: v.astype(np.float32) for n, v in x.items()}


def test_training_lowers_the_loss_and_teaches_one_view_from_the_other():
    """300 steps on one batch: the loss falls to a tenth, and m1 is predicted from m0 alone."""
    specs = tuple(dataclasses.replace(spec(f"m{i}"), likelihood_scale=0.5) for i in (0, 1))
    model, x = MVAE(specs, LatentSpace(2), warmup_steps=50), two_views(64)
    start = worlds.random_params(model)
    variables, losses = worlds.train(model, {"x": x}, 300, params=start, rate=3e-2)
    assert losses[0] > 200
    assert losses[-20:].mean() < 0.1 * losses[0]
    params, x = worlds.as_float64(variables["params"]), worlds.as_float64(x)
    encoder = params["encoder"]["m0"]["shared"]["Dense_0"]
    loc, variance = expert("poe", 2, encoder, x["m0"])
    code = loc / (1 + variance)  # the mean of its product with the prior
    layer = params["decoder"]["m1"]["Dense_0"]
    error = code @ layer["kernel"] + layer["bias"] - x["m1"]
    assert np.sqrt(np.square(error).mean()) < 0.2 * x["m1"].std()


# --- configs -------------------------------------------------------------------------------------


def test_few_pairs_are_a_third_of_each_batch():
    values = mvae_config.get_config("dataset=mnist_labels,paired=0.01").to_dict()
    configuration.validate(values)
    assert (values["data"]["partial"], values["data"]["observed"]) == ("paired", 0.01)
    assert sum(values["training"]["batch_mix"].values()) == values["batch_size"]
    assert values["training"]["batch_mix"]["complete"] == 34


def small_config(**model) -> dict:
    values = mvae_config.get_config().to_dict()
    values["model"].update(model)
    values["model"]["network_options"]["conv"] = {"width": 2, "hidden": 4}
    return values


def test_default_config_fits_its_data(tiny_data):
    model = worlds.from_config(small_config(), tiny_data.specs)

    def first_step(x):
        batch = models.prepare({"x": x})
        variables = model.init(jax.random.key(0), batch)
        return model.loss(variables, jax.random.key(1), batch, jnp.int32(0))

    x = {name: pixels[:2] for name, pixels in tiny_data.splits["train"].x.items()}
    loss, terms = jax.eval_shape(first_step, x)
    assert loss.shape == (2,)
    assert set(terms) == {"elbo", "kl/shared"} | {
        f"{what}/{name}" for what in ("elbo", "log_px") for name in model.names
    }
    assert all(term.shape == (2,) and term.dtype == jnp.float32 for term in terms.values())


def test_options_reach_the_model(tiny_data):
    values = small_config(experts="qoe")
    values["objective"].update(
        beta=0.3, warmup_steps=7, unimodal_terms=False, num_subsets=2, weights="code"
    )
    model = worlds.from_config(values, tiny_data.specs)
    assert model.shared == QuotientSpace(8, num_modalities=3)
    found = (model.beta, model.warmup_steps, model.unimodal_terms, model.num_subsets)
    assert (*found, model.weighted_terms) == (0.3, 7, False, 2, "code")
    assert model.sees.shape == (3, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"private_dim": 2}, "'m0': private_dim = 2, but mvae has a shared code only"),
        ({"latent": "laplace"}, "config.model.latent = 'laplace': a product of experts needs"),
        ({"experts": "qoe", "posterior_scale": "sum"}, "config.model.posterior_scale = 'sum'"),
        ({"experts": "moe"}, "config.model.experts = 'moe': must be one of 'poe', 'qoe'"),
    ],
)
def test_what_does_not_fit_is_one_line(changes, said, tiny_data):
    with pytest.raises(UserError) as error:
        worlds.from_config(small_config(**changes), tiny_data.specs)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_plain_bound_of_all_modalities():
    """Without unimodal terms a row with one modality keeps that term."""
    model = with_two_points(build(unimodal_terms=False, weights=(1.0,)))
    batch = make_batch(model, PATTERNS)
    variables = {"params": worlds.random_params(model)}
    loss, terms = jax.jit(
        lambda batch: model.loss(variables, jax.random.key(0), batch, jnp.int32(0))
    )(batch)
    np.testing.assert_array_equal(loss, -terms["elbo"])
    assert np.all((loss != 0.0) == PATTERNS.any(0))
