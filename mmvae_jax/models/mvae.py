"""MVAE: product of experts with the prior as an expert (Wu & Goodman, NeurIPS 2018).

Every set S of modalities has one posterior, q(z | x_S) ~ p(z) prod_{m in S} q~(z | x_m), and one
evidence bound, of which a training step sums several: of all modalities, of every single one, and
of k random subsets. A term's likelihood is of its own members only: that one modality predicts
another is learned because all terms share z.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import distributions, objectives, rules
from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.models.latents import LatentSpace, Parameters, require_normal
from mmvae_jax.models.modalities import common_options, require_shared_only
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, UserError, Variables

EXPERTS = ("poe", "qoe")
WEIGHTS = ("all", "code")

RULES = {
    "model.experts": rules.choice(*EXPERTS),
    "objective.beta": rules.real(0.0),
    "objective.warmup_steps": rules.integer(0),
    "objective.unimodal_terms": rules.of_type(bool),
    "objective.num_subsets": rules.integer(0),
    "objective.weights": rules.choice(*WEIGHTS),
}

# How far below their bound M / (M - 1) the variances of a quotient's experts stay, relatively: far
# enough for float32 to tell the difference of their inverses.
_MARGIN = 1e-4


@dataclasses.dataclass(frozen=True)
class QuotientSpace(LatentSpace):
    """Gaussian experts without a universal one: q(z | x_S) = prod q(z | x_m) / p(z)^(n - 1).

    The exact posterior of factors that are independent given z (supplement of the paper, section
    3), n = |S|. Its precision is sum_m 1 / V_m - (n - 1), which must be positive for every subset
    of the M modalities. V = M / (M - 1) sigmoid(v) sees to that: every 1 / V_m exceeds
    (M - 1) / M, so that the precision exceeds n (M - 1) / M - (n - 1) = (M - n) / M >= 0. (The
    supplement prints V_i > M / (M - 1); its sigmoid keeps V_i below, as the proof needs.)

    Attributes:
      num_modalities: M, the largest number of factors.
    """

    num_modalities: int = 2

    def scale(self, raw: Array) -> Array:
        """Raw numbers v [..., D] to standard deviations sqrt(M / (M - 1) sigmoid(v))."""
        bound = self.num_modalities / (self.num_modalities - 1) * (1 - _MARGIN)
        log_variance = np.float32(np.log(bound)) + jax.nn.log_sigmoid(raw.astype(jnp.float32))
        return jnp.exp(0.5 * log_variance) + distributions.SCALE_FLOOR

    def product(
        self, parameters: Parameters, present: Array | None = None, *, prior: bool = True
    ) -> Parameters:
        """The quotient for experts [M, ..., D] of which ``present`` [M, ...] count.

        The prior's part is fixed by the formula; N(0, I) where nothing is present.
        """
        del prior
        loc, scale = parameters["loc"], parameters["scale"]
        here = jnp.ones(loc.shape[:-1], bool) if present is None else present
        here = jnp.broadcast_to(here[..., None], loc.shape)
        loc = jnp.where(here, loc, 0.0)
        precision = 1 / jnp.square(jnp.where(here, scale, 1.0))
        # sum_m 1 / V_m - (n - 1), as a sum without a negative term.
        limit = (self.num_modalities - 1) / self.num_modalities
        excess = jnp.where(here, precision - limit, 0.0).sum(0)
        absent = self.num_modalities - here.sum(0).astype(jnp.float32)
        total = excess + absent / self.num_modalities
        return {"loc": (precision * loc).sum(0) / total, "scale": 1 / jnp.sqrt(total)}


@dataclasses.dataclass(frozen=True)
class MVAE(MultimodalVAE):
    """The model of the paper; a `QuotientSpace` as ``shared`` makes it the quotient of experts.

    Attributes:
      beta: factor on the KL at the end of the warm-up.
      warmup_steps: length of the linear warm-up of that factor from 0.
      unimodal_terms: whether every single modality has a term of its own. Without those terms the
        encoders never learn what one modality alone says: an ablation.
      num_subsets: k, random subsets per row and step.
      weighted_terms: which terms lambda applies to: ``all``, or, as the published ``code`` has it
        for many modalities, those of all modalities and of single images.
    """

    beta: float = 1.0
    warmup_steps: int = 0
    unimodal_terms: bool = True
    num_subsets: int = 0
    weighted_terms: str = "all"

    def __post_init__(self) -> None:
        require_normal(self.shared.family)
        require_shared_only(
            self.specs,
            "modality {name!r}: private_dim = {size}, but mvae has a shared code only; "
            "set private_dim to 0",
        )

    def strata(
        self, variables: Variables, batch: Batch, shared: Parameters, present: Array
    ) -> tuple[Parameters, Array]:
        """One stratum: the product of the present experts."""
        del variables, batch
        joint = self.shared.product(shared, present)
        return jax.tree.map(lambda x: x[None], joint), present.any(0)[None]

    # --- objective ----------------------------------------------------------------------------

    def loss(
        self, variables: Variables, rng: PRNGKey, batch: Batch, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Minus the sum of the terms' bounds per example [B], and parts for the metrics.

        `elbo` is the bound of all present modalities and `elbo/<modality>` that of a single one,
        as bounds on log-likelihoods: without lambda and with beta = 1.
        """
        choose, draw = jax.random.split(rng)
        present = self.present(batch)
        members = self.members(choose, present)
        posterior = self.posteriors(self.experts(variables, batch).shared, members)
        z = self.shared.sample(posterior, draw)
        log_px = self.score(variables, batch, z, {}, self.sees)
        log_px = jnp.where(members, log_px, 0.0)
        kl = self.shared.prior_kl(posterior)

        beta = self.beta * objectives.linear_warmup(step, self.warmup_steps)
        bounds = objectives.elbo(self.term_weights * log_px, kl, beta=beta)
        if self.unimodal_terms:
            # Where one modality is present, the complete term is that modality's own: counted once.
            alone = present.sum(0) == 1
            bounds = bounds.at[0].set(jnp.where(alone, 0.0, bounds[0]))
        return -bounds.sum(0), self._terms(log_px, kl)

    @property
    def _num_subsets(self) -> int:
        """k, or 0 where no random subset lies between the pairs and all modalities."""
        return self.num_subsets if len(self.specs) > 2 else 0

    @property
    def sees(self) -> np.ndarray:
        """Which decoder sees which stratum, [S, M]: complete, k random subsets, M singles."""
        count = len(self.specs)
        joint = np.ones((1 + self._num_subsets, count), bool)
        return np.concatenate([joint, np.eye(count, dtype=bool)]) if self.unimodal_terms else joint

    @property
    def term_weights(self) -> np.ndarray:
        """lambda of every modality in every term, float32 [S, M, 1]."""
        table = np.broadcast_to(self.weights, self.sees.shape).copy()
        if self.weighted_terms == "code":
            own = [spec.weight if spec.is_image else 1.0 for spec in self.specs]
            table[1 : 1 + self._num_subsets] = 1.0
            table[1 + self._num_subsets :] = own
        return table[..., None]

    def members(self, rng: PRNGKey, present: Array) -> Array:
        """Which modalities each term has in each row, [S, M, B] of ``present`` [M, B]."""
        subsets = random_subsets(rng, present, self._num_subsets)
        terms = [present[None], subsets]
        if self.unimodal_terms:
            terms.append(present[None] & np.eye(len(self.specs), dtype=bool)[..., None])
        return jnp.concatenate(terms)

    def posteriors(self, shared: Parameters, members: Array) -> Parameters:
        """q(z | x_S) of every term [S, B, D] from experts [M, B, D] and members [S, M, B]."""
        joint = jnp.swapaxes(members[: 1 + self._num_subsets], 0, 1)  # [M, 1 + k, B]
        every = jax.tree.map(
            lambda x: jnp.broadcast_to(x[:, None], (*joint.shape, x.shape[-1])), shared
        )
        found = self.shared.product(every, joint)
        if not self.unimodal_terms:
            return found
        # M products of one expert each: the cost stays linear in M.
        alone = jax.tree.map(lambda x: x[None], shared)
        singles = self.shared.product(alone, members[:1])
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), found, singles)

    def _terms(self, log_px: Array, kl: Array) -> dict[str, Array]:
        """Metrics [B] from the terms' log p(x_m | z) [S, M, B] and KLs [S, B]."""
        terms = {"elbo": log_px[0].sum(0) - kl[0], "kl/shared": kl[0]}
        first = 1 + self._num_subsets
        for index, spec in enumerate(self.specs):
            terms[f"log_px/{spec.name}"] = log_px[0, index]
            if self.unimodal_terms:
                own = log_px[first + index, index] - kl[first + index]
                terms[f"elbo/{spec.name}"] = own
        return terms


def random_subsets(rng: PRNGKey, present: Array, num_subsets: int) -> Array:
    """Random subsets of every row's present modalities, bool [k, M, B] from ``present`` [M, B].

    Of n present modalities, the size is uniform from 2 to n - 1, then all subsets of that size are
    equally likely. Empty where n < 3: pairs have nothing between single and all.
    """
    sizes, order = jax.random.split(rng)
    count = present.sum(0)[None]
    size = jax.random.randint(sizes, (num_subsets, count.size), 2, jnp.maximum(count, 3))
    # The first `size` of a random order that has the absent ones last.
    place = jax.random.uniform(order, (num_subsets, *present.shape))
    place = jnp.where(present[None], place, jnp.inf)
    rank = jnp.argsort(jnp.argsort(place, axis=1), axis=1)
    return (rank < size[:, None]) & (count >= 3)[None]


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> MVAE:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    options = common_options(model)
    if model["experts"] == "qoe":
        if model["posterior_scale"] != "softplus":
            raise UserError(
                f"config.model.posterior_scale = {model['posterior_scale']!r}: the variances of a "
                "quotient of experts (config.model.experts = 'qoe') have a bound of their own; "
                "leave it at 'softplus'"
            )
        space = options["shared"]
        options["shared"] = QuotientSpace(space.dim, space.family, num_modalities=len(specs))
    return MVAE(
        specs=specs,
        **options,
        beta=objective["beta"],
        warmup_steps=objective["warmup_steps"],
        unimodal_terms=objective["unimodal_terms"],
        num_subsets=objective["num_subsets"],
        weighted_terms=objective["weights"],
    )
