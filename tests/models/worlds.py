"""Small models with linear networks, and what NumPy says of them in float64.

With ``hidden=()`` an MLP is a linear map, so posteriors, decoders and, for normal codes, the
likelihood of everything have closed forms, which are written out here once more.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special, stats

from mmvae_jax import configuration, models
from mmvae_jax.types import ModalitySpec

SIZE = 4
FLOOR = 1e-6  # of every scale, as documented in `distributions`
DENSITIES = {"normal": stats.norm, "laplace": stats.laplace}


def specs(
    count: int = 3,
    *,
    private: tuple[int, ...] = (0, 0, 0),
    weights: tuple[float, ...] = (1.0, 1.0, 1.0),
    scales: tuple[float, ...] = (1.5, 1.5, 1.5),
    hidden: tuple[int, ...] = (),
    likelihood: str = "normal",
) -> tuple[ModalitySpec, ...]:
    """Vectors m0, m1, ... of SIZE numbers."""
    return tuple(
        ModalitySpec(
            name=f"m{i}",
            shape=(SIZE,),
            dtype="float32",
            likelihood=likelihood,
            likelihood_scale=scales[i],
            weight=weights[i],
            private_dim=private[i],
            network="mlp",
            network_options=(("hidden", hidden),),
        )
        for i in range(count)
    )


def patterns(count: int, rows: int) -> np.ndarray:
    """Which of ``count`` modalities each row has, bool [M, B]: every pattern, none too, in turn."""
    every = list(itertools.product([True, False], repeat=count))
    return np.array([every[i % len(every)] for i in range(rows)]).T


def arrays(model: Any, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random data of every modality."""
    rng = np.random.default_rng(seed)
    return {s.name: rng.normal(size=(rows, *s.shape)).astype(np.float32) for s in model.specs}


def batch(model: Any, rows: int = 6, seed: int = 0, present: np.ndarray | None = None) -> Any:
    """A prepared batch of random data; ``present`` [M, B] (default: all)."""
    here = {} if present is None else {"present": dict(zip(model.names, present, strict=True))}
    return models.prepare({"x": arrays(model, rows, seed), **here})


def random_params(model: Any, seed: int = 0, size: float = 0.5) -> Any:
    """Parameters without symmetries: nothing is 0, and no two modalities are alike."""
    rng = np.random.default_rng(seed)
    x = {s.name: np.zeros((1, *s.shape), s.dtype) for s in model.specs}
    rows = {"x": x, "present": {name: np.ones(1, bool) for name in x}}
    shapes = jax.eval_shape(model.init, jax.random.key(0), rows)["params"]
    return jax.tree.map(
        lambda leaf: jnp.asarray(size * rng.normal(size=leaf.shape), jnp.float32), shapes
    )


@functools.cache
def compiled(model: Any) -> Any:
    """One program: (params, x, present [M, B], rng) to (loss [B], terms, gradient of its sum)."""

    @jax.jit
    def run(params, x, present, rng):
        here = {name: present[i] for i, name in enumerate(model.names)}
        rows = models.prepare({"x": x, "present": here})

        def total(params):
            loss, terms = model.loss({"params": params}, rng, rows, jnp.int32(0))
            return loss.sum(), (loss, terms)

        gradient, (loss, terms) = jax.grad(total, has_aux=True)(params)
        return loss, terms, gradient

    return run


@functools.cache
def answers(model: Any, rows: int) -> tuple[Any, Any, Any]:
    """(params, x, what `compiled` gives): random ones, every pattern of presence, key 2."""
    params, x = random_params(model), arrays(model, rows)
    present = patterns(len(model.specs), rows)
    return params, x, compiled(model)(params, x, present, jax.random.key(2))


def check_that_absent_content_never_matters(model: Any, rows: int) -> None:
    """Bit for bit, for every pattern, in loss, terms and gradients, in one program."""
    run, present = compiled(model), patterns(len(model.specs), rows)
    params, x, first = answers(model, rows)
    changed = {
        name: np.where(present[i][:, None], x[name], np.float32(-1e6))
        for i, name in enumerate(model.names)
    }
    second = run(params, changed, present, jax.random.key(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))
    assert np.all(first[0][~present.any(0)] == 0.0)
    assert run._cache_size() == 1


def check_that_extreme_scales_stay_finite(model: Any, rows: int) -> None:
    """Posterior scales of 1e-4 and 1e3 beside each other, in every pattern (softplus scales)."""
    params = answers(model, rows)[0]
    raw = {0: float(np.log(np.expm1(1e-4))), 1: 1e3}
    encoder = {}
    for index, (name, networks) in enumerate(params["encoder"].items()):
        encoder[name] = {}
        for part, layers in networks.items():
            kernel, bias = layers["Dense_0"]["kernel"], layers["Dense_0"]["bias"]
            size = bias.shape[0] // 2
            bias = bias.at[size:].set(raw[index % 2])
            kernel = kernel.at[:, size:].set(0.0)
            encoder[name][part] = {"Dense_0": {"kernel": kernel, "bias": bias}}
    found = compiled(model)(
        {**params, "encoder": encoder},
        arrays(model, rows),
        patterns(len(model.specs), rows),
        jax.random.key(2),
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


def from_config(values: Any, specs: tuple[ModalitySpec, ...] | None = None) -> Any:
    """The checked model of a whole config; ``specs`` of its data, by default two images."""
    if specs is None:
        specs = tuple(ModalitySpec(name=name, shape=(28, 28, 3)) for name in ("a", "b"))
    configuration.validate(values)
    model = models.build(values, models.specs_from_config(values["model"], specs))
    model.check()
    return model


def views_and_label(private: int = 0) -> tuple[tuple[ModalitySpec, ...], dict[str, np.ndarray]]:
    """Specs and data of two noisy views m0 and m1 of four classes, and the class.

    ``private`` is the size of the views' private codes; the class has none.
    """
    label = ModalitySpec(
        name="label",
        shape=(),
        dtype="int32",
        likelihood="categorical",
        num_classes=4,
        network="mlp",
        network_options=(("hidden", (16,)),),
    )
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 256).astype(np.int32)
    x: dict[str, np.ndarray] = {"label": classes}
    for name in ("m0", "m1"):
        centres = 1.5 * rng.normal(size=(4, SIZE))
        x[name] = (centres[classes] + 0.3 * rng.normal(size=(256, SIZE))).astype(np.float32)
    views = specs(2, private=(private, private), hidden=(16,), scales=(0.5, 0.5))
    return (*views, label), x


def train(
    model: Any, raw: Any, steps: int, *, params: Any = None, rate: float = 5e-3
) -> tuple[Any, np.ndarray]:
    """(variables, mean loss of every step): full batches, Adam, fixed keys, one program.

    Args:
      model: the model.
      raw: {"x": arrays} and, where something is missing, {"present": masks}.
      steps: how many.
      params: the start; random ones by default.
      rate: the learning rate.
    """
    rows, optimizer = models.prepare(raw), optax.adam(rate)

    def step(carry, index):
        params, state = carry

        def mean_loss(params):
            key = jax.random.fold_in(jax.random.key(1), index)
            return model.loss({"params": params}, key, rows, index)[0].mean()

        loss, gradient = jax.value_and_grad(mean_loss)(params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), loss

    @jax.jit
    def run(params):
        carry = (params, optimizer.init(params))
        (params, _), losses = jax.lax.scan(step, carry, jnp.arange(steps))
        return params, losses

    params, losses = run(random_params(model, size=0.3) if params is None else params)
    return {"params": params}, np.asarray(losses)


def drawn(model: Any, variables: Any, x: Any, name: str) -> np.ndarray:
    """One draw of a modality in every row, given the row's m0 alone."""
    rows = models.prepare({"x": x})
    draw = jax.jit(lambda key: model.conditional(variables, key, rows, ("m0",), 1)[name][0])
    return np.asarray(draw(jax.random.key(3)))


def label_accuracy(model: Any, variables: Any, x: Any) -> float:
    """How often the label drawn from the first view is the right one."""
    return float((drawn(model, variables, x, "label").argmax(-1) == x["label"]).mean())


def mean_and_error(model: Any, params: Any, rows: Any, count: int) -> tuple[Any, Any]:
    """Mean of minus the loss over ``count`` keys [B], and its standard error."""
    keys, variables = jax.random.split(jax.random.key(3), count), {"params": params}
    loss = jax.jit(jax.vmap(lambda k: model.loss(variables, k, rows, jnp.int32(0))[0]))(keys)
    bounds = -np.asarray(loss, np.float64)
    return bounds.mean(0), bounds.std(0) / np.sqrt(count)


# --- once more, in float64 ------------------------------------------------------------------------


def as_float64(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def positive(raw: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(raw))) + np.maximum(raw, 0.0) + FLOOR


def posterior(params: Any, name: str, part: str, x: Any, scale=positive) -> tuple:
    """(loc, scale) [B, .] of one linear encoder."""
    layer = params["encoder"][name][part]["Dense_0"]
    loc, raw = np.split(x[name] @ layer["kernel"] + layer["bias"], 2, axis=-1)
    return loc, scale(raw)


def posteriors(model: Any, params: Any, x: Any) -> list[tuple]:
    """(loc, scale) [B, D] of every modality's linear encoder."""
    return [posterior(params, name, "shared", x) for name in model.names]


def private_draws(model: Any, params: Any, x: Any) -> dict[int, tuple]:
    """{m: (loc, scale, the code that is drawn)}, each [B, W], of modalities with private codes."""
    found = {}
    for m, spec in enumerate(model.specs):
        if spec.private_dim:
            loc, scale = posterior(params, spec.name, "private", x)
            found[m] = (loc, scale, loc + scale * noise(m + 1, (1, *loc.shape))[0])
    return found


def noise(place: int, shape: tuple[int, ...]) -> np.ndarray:
    """What models draw for a code with key 2: shared ones have place 0, private ones m + 1."""
    key = jax.random.fold_in(jax.random.key(2), place)
    return np.asarray(jax.random.normal(key, shape), np.float64)


def log_px(params: Any, spec: ModalitySpec, code: np.ndarray, x: Any) -> np.ndarray:
    """log p(x | code) [..., B] of one linear decoder; codes [..., B, W + D], private first."""
    layer = params["decoder"][spec.name]["Dense_0"]
    density = DENSITIES[spec.likelihood](code @ layer["kernel"] + layer["bias"])
    scaled = DENSITIES[spec.likelihood](density.mean(), spec.likelihood_scale)
    return scaled.logpdf(x[spec.name]).sum(-1)


def expected_log_px(params: Any, spec: ModalitySpec, loc: Any, scale: Any, x: Any) -> np.ndarray:
    """E log p(x | code) [B] over a normal code, for a linear decoder and a normal likelihood."""
    kernel = params["decoder"][spec.name]["Dense_0"]["kernel"]
    spread = (scale**2 @ kernel**2).sum(-1)  # trace of the covariance of what is predicted
    return log_px(params, spec, loc, x) - 0.5 * spread / spec.likelihood_scale**2


def normal_kl(loc_q, scale_q, loc_p=0.0, scale_p=1.0) -> np.ndarray:
    """KL between normals, summed over the last axis."""
    ratio = (scale_q / scale_p) ** 2
    return 0.5 * (ratio + ((loc_q - loc_p) / scale_p) ** 2 - 1 - np.log(ratio)).sum(-1)


def exact_log_likelihood(
    model: Any, params: Any, x: Any, given: np.ndarray | None = None, prior_scale: float = 1.0
) -> np.ndarray:
    """log p of the present modalities [B] for linear decoders of normal codes and likelihoods."""
    params, x = as_float64(params), as_float64(x)
    given = np.ones(len(model.specs), bool) if given is None else given
    chosen = [spec for spec, here in zip(model.specs, given, strict=True) if here]
    loadings, means, noise, place = [], [], [], 0
    private = sum(spec.private_dim for spec in chosen)
    for spec in chosen:
        layer = params["decoder"][spec.name]["Dense_0"]
        row = np.zeros((SIZE, private + model.shared.dim))
        row[:, place : place + spec.private_dim] = layer["kernel"][: spec.private_dim].T
        row[:, private:] = prior_scale * layer["kernel"][spec.private_dim :].T
        place += spec.private_dim
        loadings.append(row)
        means.append(layer["bias"])
        noise.append(np.full(SIZE, spec.likelihood_scale**2))
    loadings = np.concatenate(loadings)
    covariance = loadings @ loadings.T + np.diag(np.concatenate(noise))
    data = np.concatenate([x[spec.name] for spec in chosen], 1)
    return np.atleast_1d(stats.multivariate_normal(np.concatenate(means), covariance).logpdf(data))


def check_that_weights_bound_the_likelihood(log_w: Any, exact: np.ndarray) -> None:
    """Bounds of K = 1 and 8 draws lie below log p [B] and tighten in K; all draws recover it.

    log_w [N, B] are importance weights of N draws, each row's with some variance.
    """
    log_w, values = np.asarray(log_w, np.float64), []
    for samples in (1, 8):
        groups = log_w.reshape(-1, samples, log_w.shape[1])
        bounds = special.logsumexp(groups, axis=1) - np.log(samples)
        error = bounds.std(0) / np.sqrt(len(bounds))
        values.append((bounds.mean(0), error))
        np.testing.assert_array_less(bounds.mean(0), exact + 4 * error)
    (loose, loose_error), (tight, tight_error) = values
    np.testing.assert_array_less(loose + 4 * np.hypot(loose_error, tight_error), tight)
    estimate = special.logsumexp(log_w, axis=0) - np.log(len(log_w))
    error = np.exp(log_w - estimate).std(0) / np.sqrt(len(log_w))
    assert np.all(error < 0.1)
    np.testing.assert_array_less(np.abs(estimate - exact), 4 * error + 1e-3)


def check_directional_derivatives(
    gradient: Any, value: Any, params: Any, parts: tuple[str, ...]
) -> None:
    """A gradient against central differences of ``value(params)`` in float64, part by part."""
    params, rng = as_float64(params), np.random.default_rng(7)
    for part in parts:
        direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params[part])

        def moved(step, part=part, direction=direction):
            shifted = jax.tree.map(lambda old, d: old + step * d, params[part], direction)
            return value({**params, part: shifted})

        expected = (moved(1e-5) - moved(-1e-5)) / 2e-5
        products = jax.tree.map(
            lambda g, d: np.asarray(g, np.float64) * d, gradient[part], direction
        )
        leaves = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(products)])
        assert np.abs(leaves).sum() > 0.1, part
        np.testing.assert_allclose(
            leaves.sum(), expected, rtol=1e-4, atol=1e-4 * np.abs(leaves).sum(), err_msg=part
        )
