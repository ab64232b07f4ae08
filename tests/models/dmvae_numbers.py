"""Small DMVAEs with linear networks, and Eq. 4 and 5 in NumPy: row by row, term by term."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import scipy.special
from scipy import stats

from mmvae_jax import models
from mmvae_jax.models.dmvae import DMVAE
from mmvae_jax.models.dmvae_hybrid import HybridDMVAE
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.types import ModalitySpec

ROWS = 8
NOISE = 0.8
CLASSES = 3


def vector(name: str, *, size: int = 3, private: int = 1, weight: float = 1.0, count: int = 50):
    """A vector modality with linear networks."""
    return ModalitySpec(
        name=name,
        shape=(size,),
        dtype="float32",
        likelihood="normal",
        likelihood_scale=NOISE,
        private_dim=private,
        weight=weight,
        num_examples=count,
        network="mlp",
        network_options=(("hidden", ()),),
    )


def label(weight: float = 1.0, hidden: tuple[int, ...] = (), classes: int = CLASSES):
    return dataclasses.replace(
        vector("label", private=0, weight=weight, count=30),
        shape=(),
        dtype="int32",
        likelihood="one_hot_bernoulli",
        num_classes=classes,
        network_options=(("hidden", hidden),),
    )


THREE = (vector("a", weight=2.0), vector("b", private=2, count=20), vector("c", private=0))
TWO = THREE[:2]
WITH_LABEL = (vector("a"), label(weight=5.0))
GAUSSIAN, MIXED = LatentSpace(2), HybridLatents((3, 2), 1)

VARIANTS = {
    "paper": DMVAE(specs=THREE, shared=GAUSSIAN, separate_encoders=False),
    "code": DMVAE(
        specs=TWO,
        shared=GAUSSIAN,
        separate_encoders=False,
        kl="sampled",
        poe_reconstruction=False,
        beta_tc=(3.0, 0.5),
        tc_blocks="joint",
    ),
    "weighted": DMVAE(
        specs=THREE,
        shared=GAUSSIAN,
        separate_encoders=False,
        single_expert_prior=True,
        beta_tc=(4.0,),
        private_kl_weight=6.0,
        pair_weight=0.05,
        balance_patterns=True,
    ),
    "hybrid": HybridDMVAE(
        specs=WITH_LABEL,
        shared=MIXED,
        separate_encoders=False,
        beta_tc=(2.0, 3.0),
        private_kl_weight=6.0,
        initial_temperature=2.0,
        temperature_schedule="exponential",
        temperature_steps=10,
    ),
}
STEP = 3  # with 10 steps from 2.0 to 0.66, exponentially: T = 2 (0.66 / 2)^0.4
TEMPERATURE = 2.0 * (0.66 / 2.0) ** 0.4


def raw_batch(model: DMVAE) -> dict:
    """Every pattern of presence (none too) at least once, and one row of weight 0."""
    generator = np.random.default_rng(1)
    patterns = np.array(list(itertools.product([False, True], repeat=len(model.specs))))
    patterns = np.resize(patterns, (ROWS, len(model.specs)))
    x = {
        spec.name: generator.integers(0, CLASSES, ROWS).astype(np.int32)
        if spec.num_classes
        else generator.normal(size=(ROWS, *spec.shape)).astype(np.float32)
        for spec in model.specs
    }
    present = {spec.name: patterns[:, i] for i, spec in enumerate(model.specs)}
    weight = np.ones(ROWS, np.float32)
    weight[3] = 0.0
    return {"x": x, "present": present, "weight": weight}


def random_params(model: DMVAE):
    """Parameters of the model's shapes, nothing 0, no two modalities alike."""
    generator = np.random.default_rng(3)
    batch = models.prepare(raw_batch(model))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), batch))["params"]
    return jax.tree.map(lambda x: np.float32(0.3 * generator.normal(size=x.shape)), shapes)


class Numbers:
    """The model's distributions in float64 on the noise that the program draws."""

    def __init__(self, model: DMVAE, params, raw):
        self.model, self.raw = model, raw
        self.params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        self.present = np.stack([raw["present"][name] for name in model.names])
        self.present = self.present & (raw["weight"] > 0)
        self.hybrid = isinstance(model.shared, HybridLatents)
        self.widths = list(model.shared.categories) if self.hybrid else []
        self.experts, self.private = [], []
        rng = jax.random.key(2)
        for index, spec in enumerate(model.specs):
            x = np.where(
                raw["present"][spec.name].reshape(-1, *[1] * len(spec.shape)),
                raw["x"][spec.name],
                0,
            )
            x = np.eye(CLASSES)[x] if spec.num_classes else x.astype(np.float64)
            part = "both" if spec.private_dim else "shared"
            layer = self.params["encoder"][spec.name][part]["Dense_0"]
            out = x @ layer["kernel"] + layer["bias"]
            cut = model.shared.num_outputs
            self.experts.append(self.posterior(out[:, :cut]))
            width = spec.private_dim
            loc, scale = np.split(out[:, cut:], [width], 1)
            noise = jax.random.normal(jax.random.fold_in(rng, index + 1), (ROWS, width))
            self.private.append((loc, self.positive(scale), np.asarray(noise, np.float64)))
        self.sources = [None, *(self.single(e) for e in self.experts)]
        self.sources[0] = self.joint()
        self.codes = self.sample(jax.random.fold_in(rng, 0))

    @staticmethod
    def positive(raw):
        return np.log1p(np.exp(raw)) + 1e-6

    def posterior(self, out):
        cut = sum(self.widths)
        loc, raw = np.split(out[:, cut:], 2, 1)
        return {"logits": out[:, :cut], "loc": loc, "scale": self.positive(raw)}

    def single(self, expert):
        if not self.model.single_expert_prior:
            return expert
        precision = 1 + expert["scale"] ** -2
        loc = expert["loc"] * expert["scale"] ** -2 / precision
        return {**expert, "loc": loc, "scale": precision**-0.5}

    def joint(self):
        here = self.present[..., None]
        precision = np.where(here, np.stack([e["scale"] ** -2 for e in self.experts]), 0)
        loc = np.stack([e["loc"] for e in self.experts])
        total = 1 + precision.sum(0)
        logits = np.where(here, np.stack([e["logits"] for e in self.experts]), 0).sum(0)
        return {"logits": logits, "loc": (precision * loc).sum(0) / total, "scale": total**-0.5}

    def sample(self, rng):
        """One code per source, as the program draws it: categoricals as log z, then normals."""
        count, dim = len(self.sources), self.model.shared.dim
        if not self.hybrid:
            noise = [np.asarray(jax.random.normal(rng, (count, ROWS, dim)))]
        else:
            draw = jax.random.normal(jax.random.fold_in(rng, 0), (count, ROWS, dim))
            noise = [
                *(
                    np.asarray(
                        jax.random.gumbel(jax.random.fold_in(rng, i + 1), (count, ROWS, 1, n))
                    )
                    for i, n in enumerate(self.widths)
                ),
                np.asarray(draw),
            ]
        codes = []
        for s, q in enumerate(self.sources):
            cuts, parts = np.cumsum([0, *self.widths]), []
            for i in range(len(self.widths)):
                logits = q["logits"][:, cuts[i] : cuts[i + 1]] + noise[i][s, :, 0]
                parts.append(scipy.special.log_softmax(logits / TEMPERATURE, -1))
            codes.append(np.concatenate([*parts, q["loc"] + q["scale"] * noise[-1][s]], 1))
        return codes

    def factors(self, q, j, z):
        """log q_j of every factor of one shared code; ``q`` None: of the prior."""
        cuts, found = np.cumsum([0, *self.widths]), []
        for i, n in enumerate(self.widths):
            logits = q["logits"][j, cuts[i] : cuts[i + 1]] if q else np.zeros(n)
            log_z = z[cuts[i] : cuts[i + 1]]
            constant = scipy.special.gammaln(n) + (n - 1) * np.log(TEMPERATURE)
            found.append(
                constant
                + (logits - (TEMPERATURE + 1) * log_z).sum()
                - n * scipy.special.logsumexp(logits - TEMPERATURE * log_z)
            )
        loc, scale = (q["loc"][j], q["scale"][j]) if q else (0.0, 1.0)
        return np.array([*found, *stats.norm(loc, scale).logpdf(z[cuts[-1] :])])

    def private_code(self, i, row):
        loc, scale, noise = self.private[i]
        return loc[row] + scale[row] * noise[row]

    def private_factors(self, i, j, w):
        loc, scale, _ = self.private[i]
        return stats.norm(loc[j], scale[j]).logpdf(w)

    def kl_shared(self, s, row):
        q, z = self.sources[s], self.codes[s][row]
        if self.model.kl == "analytic" and not self.hybrid:
            return kl_normal(q["loc"][row], q["scale"][row])
        return self.factors(q, row, z).sum() - self.factors(None, row, z).sum()

    def kl_private(self, i, row):
        loc, scale, _ = self.private[i]
        if self.model.kl == "analytic":
            return kl_normal(loc[row], scale[row])
        w = self.private_code(i, row)
        return self.private_factors(i, row, w).sum() - stats.norm.logpdf(w).sum()

    def tc(self, row, densities, rows, size):
        """log q(z) - sum log q(z_f) of one row by weighted sampling; densities(j): [F] of row j."""
        others = [j for j in np.flatnonzero(rows) if j != row]
        own = densities(row)
        if not others:
            return 0.0
        rest = np.array([densities(j) for j in others])
        joint = np.exp(own.sum()) / size + (size - 1) / size * np.exp(rest.sum(1)).mean()
        each = np.exp(own) / size + (size - 1) / size * np.exp(rest).mean(0)
        return np.log(joint) - np.log(each).sum()

    def rows_of(self, s):
        return self.present[s - 1] if s else self.present.sum(0) > 1

    def size_of(self, s):
        sizes = [spec.num_examples for spec in self.model.specs]
        return sizes[s - 1] if s else max(sizes)

    def log_px(self, i, s, row):
        spec = self.model.specs[i]
        z = self.codes[s][row].copy()
        z[: sum(self.widths)] = np.exp(z[: sum(self.widths)])
        layer = self.params["decoder"][spec.name]["Dense_0"]
        out = np.concatenate([self.private_code(i, row), z]) @ layer["kernel"] + layer["bias"]
        x = self.raw["x"][spec.name][row]
        if spec.num_classes:
            p = scipy.special.expit(out)
            return np.log(np.where(np.arange(CLASSES) == x, p, 1 - p)).sum()
        return stats.norm(out, NOISE).logpdf(x).sum()

    def term(self, i, s, row):
        """Modality i from source s (0: joint, 1 + j: expert j), as Eq. 4 and 5 have it."""
        model, spec = self.model, self.model.specs[i]
        beta = model.beta_tc[i % len(model.beta_tc)]
        kappa, z, q = model.private_kl_weight, self.codes[s][row], self.sources[s]
        value = -kappa * self.kl_private(i, row) - self.kl_shared(s, row)
        if s or model.poe_reconstruction:
            value += spec.weight * self.log_px(i, s, row)
        if beta == 1:
            return value
        w, size = self.private_code(i, row), spec.num_examples
        if model.tc_blocks == "joint":
            return value - (beta - 1) * self.tc(
                row,
                lambda j: np.concatenate([self.private_factors(i, j, w), self.factors(q, j, z)]),
                self.rows_of(s) & self.present[i],
                min(size, self.size_of(s)) if spec.private_dim else self.size_of(s),
            )
        value -= (beta - 1) * self.tc(
            row, lambda j: self.factors(q, j, z), self.rows_of(s), self.size_of(s)
        )
        if spec.private_dim:
            value -= (
                (beta - 1)
                * kappa
                * self.tc(row, lambda j: self.private_factors(i, j, w), self.present[i], size)
            )
        return value

    def loss(self, row) -> float:
        have = np.flatnonzero(self.present[:, row])
        sources = [*([0] if len(have) > 1 else []), *(1 + have)]
        value = sum(self.term(i, s, row) for i in have for s in sources)
        if len(have) > 1:
            value *= self.model.pair_weight
        if self.model.balance_patterns:
            alike = (self.present == self.present[:, row : row + 1]).all(0)
            weight = self.raw["weight"] * self.present.any(0)
            value *= weight.sum() / max(weight[alike].sum(), 1)
        return -value


def kl_normal(loc, scale):
    return (0.5 * (scale**2 + loc**2 - 1) - np.log(scale)).sum()
