"""Small MEMEs, each compiled once for all tests, and the paper's formulas in NumPy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from mmvae_jax import models
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.meme import MEME
from mmvae_jax.types import ModalitySpec

NOISE = 1.2
SIZES = (4, 3, 5)
PAIRS = np.array([[1, 1], [1, 1], [1, 0], [0, 1], [1, 0], [0, 0]], bool)
TRIPLES = np.array(
    [[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0]], bool
)
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
    return jax.jit(model.init)(jax.random.key(1), batch)["params"]


def make_call(model: MEME):
    """Jitted (params, x, present) -> loss [B], terms and the gradient of the summed loss."""

    @jax.jit
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
    """The objective of one row; options are read from the model, arrays from its parameters.

    ``weights`` {(source, row): w} are used in place of those that follow from the parameters.
    """

    def __init__(self, model: MEME, params, x, noise, weights=None):
        self.model, self.params, self.x, self.noise = model, params, x, noise
        self.weights = {} if weights is None else weights
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
        weight = self.weights.get((source, row), np.exp(log_t[0] - log_label))
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

    def directions(self, pattern, row):
        """{source: what `direction` gives} of the present sources."""
        here = list(np.flatnonzero(pattern))
        return {s: self.direction(s, [o for o in here if o != s], row) for s in here}

    def row(self, pattern, row):
        bounds = [bound for bound, _ in self.directions(pattern, row).values()]
        if not bounds:
            return 0.0
        return np.mean(bounds) if self.model.directions == "mean" else np.sum(bounds)


def formula(model, params, x, rows):
    shape = (model.num_samples + 1, len(model.specs), rows, model.shared.dim)
    draw = jax.random.normal if model.shared.family == "normal" else jax.random.laplace
    return Formula(model, params, x, np.asarray(draw(jax.random.key(2), shape), np.float64))
