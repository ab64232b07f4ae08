"""A latent space of relaxed categoricals and Gaussian coordinates side by side (DMVAE, hybrid).

Lee & Pavlovic, "Learning of Hybrid Latent Representations", Sec. 4.5: each categorical is a
Concrete variable (Eq. 7) at one temperature, whose prior gives every class the same probability.

A code is the concatenation of log z of every categorical and of the Gaussian coordinates: in
float32 a coordinate of z underflows to 0 at large logits, log z does not. `features` gives z itself
to decoders. Densities are those of z on the simplex.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmvae_jax import distributions, experts
from mmvae_jax.models.latents import LatentSpace, Parameters, align
from mmvae_jax.types import Array, PRNGKey


class Run(NamedTuple):
    """Neighbouring categoricals of one size: ``number`` of them from column ``start`` on."""

    start: int
    number: int
    classes: int

    def of(self, x: Array) -> Array:
        """Their columns of [..., D] as [..., number, classes]."""
        x = x[..., self.start : self.start + self.number * self.classes]
        return x.reshape(*x.shape[:-1], self.number, self.classes)


@dataclasses.dataclass(frozen=True)
class HybridLatents:
    """Independent relaxed categoricals, then independent Gaussian coordinates.

    The interface is that of `LatentSpace` without `kl` and `prior_kl`: the KL between Concretes has
    no closed form. Parameters are {"logits" [..., C], "loc" [..., dim], "scale" [..., dim]}, C the
    sum of the class counts; C or dim may be 0.

    Attributes:
      categories: number of classes of every categorical, (10,) or (2,) * 18 say; may be empty.
      dim: number of Gaussian coordinates; may be 0.
      temperature: T of the Concretes; a traced scalar where it changes during training.
      constraint: of the Gaussian scales, see `LatentSpace`.
    """

    categories: tuple[int, ...]
    dim: int = 0
    temperature: float | Array = 0.66
    constraint: str = "softplus"

    @property
    def num_logits(self) -> int:
        """C: numbers of a code that belong to categoricals."""
        return sum(self.categories)

    @property
    def normals(self) -> LatentSpace:
        """The Gaussian coordinates as a space of their own."""
        return LatentSpace(self.dim, "normal", self.constraint)

    @property
    def num_outputs(self) -> int:
        """How many raw numbers an encoder must give."""
        return self.num_logits + self.normals.num_outputs

    @property
    def size(self) -> int:
        """Length of a code, and of what `features` makes of it."""
        return self.num_logits + self.dim

    @property
    def num_factors(self) -> int:
        """Independent factors: a categorical is one, and so is a Gaussian coordinate."""
        return len(self.categories) + self.dim

    @property
    def runs(self) -> tuple[Run, ...]:
        """The categoricals, those of one size in one array: 18 binary ones cost as much as one."""
        found, start = [], 0
        for classes, group in itertools.groupby(self.categories):
            found.append(Run(start, len(list(group)), classes))
            start += found[-1].number * classes
        return tuple(found)

    # --- parameters ---------------------------------------------------------------------------

    def posterior(self, raw: Array) -> Parameters:
        """Raw encoder outputs [..., num_outputs]: logits, locations, raw scales."""
        raw = raw.astype(jnp.float32)
        logits, rest = raw[..., : self.num_logits], raw[..., self.num_logits :]
        return {"logits": logits, **self.normals.posterior(rest)}

    def prior(self, batch_shape: tuple[int, ...] = ()) -> Parameters:
        """Equal class probabilities, and the standard normal."""
        logits = jnp.zeros((*batch_shape, self.num_logits))
        return {"logits": logits, **self.normals.prior(batch_shape)}

    def product(
        self, parameters: Parameters, present: Array | None = None, *, prior: bool = True
    ) -> Parameters:
        """Product of experts [M, ..., D] of which ``present`` [M, ...] count, with the prior.

        Class probabilities multiply (Eq. 8, exact as T goes to 0; the uniform prior changes
        nothing), Gaussian precisions add up.
        """
        mask = present if present is None or present.ndim == 1 else present[..., None]
        logits = [experts.product_of_concretes(p, mask) for p in self._by_run(parameters)]
        normals = self.normals.product(parameters, present, prior=prior)
        return {"logits": _joined(logits, parameters["logits"][0, ..., :0]), **normals}

    def mean(self, parameters: Parameters) -> Array:
        """Class probabilities and Gaussian means [..., D]: what `features` gives of codes."""
        probabilities = [jax.nn.softmax(p) for p in self._by_run(parameters)]
        return _joined(probabilities, parameters["loc"])

    def mean_code(self, parameters: Parameters) -> Array:
        """The code [..., D] whose `features` are the `mean`: what predictions decode."""
        log_probs = [jax.nn.log_softmax(p) for p in self._by_run(parameters)]
        return _joined(log_probs, parameters["loc"])

    def entropy_of_mean(self, parameters: Parameters, weight: Array) -> Array:
        """Entropy in nats of the weighted mean, over rows [B], of each categorical's probabilities.

        Averaged over the categoricals. At most log C for one of C classes, and that where the rows
        use all classes alike. Needs at least one categorical.
        """
        share = weight / jnp.maximum(weight.sum(), jnp.finfo(jnp.float32).tiny)
        entropies = []
        for logits in self._by_run(parameters):
            mean = (share[:, None, None] * jax.nn.softmax(logits)).sum(0)
            entropies.append(jax.scipy.special.entr(mean).sum(-1))
        return jnp.concatenate(entropies).mean()

    # --- samples and densities ----------------------------------------------------------------

    def sample(
        self, parameters: Parameters, rng: PRNGKey, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        """Reparameterised draws [*sample_shape, ..., D], categoricals as log z."""
        log_z = [
            distributions.Concrete(self.temperature, logits).sample_log(
                seed=jax.random.fold_in(rng, index + 1), sample_shape=sample_shape
            )
            for index, logits in enumerate(self._by_run(parameters))
        ]
        normal = self.normals.sample(parameters, jax.random.fold_in(rng, 0), sample_shape)
        return _joined(log_z, normal)

    def factor_log_prob(self, parameters: Parameters, z: Array) -> Array:
        """Log-density of each factor of codes z [..., D]: [..., num_factors]."""
        densities = [
            distributions.Concrete(self.temperature, logits).log_prob_of_log(run.of(z))
            for run, logits in zip(self.runs, self._by_run(parameters), strict=True)
        ]
        normal = self.normals.factor_log_prob(parameters, z[..., self.num_logits :])
        return jnp.concatenate([*densities, normal], axis=-1)

    def factor_kl(self, q: Parameters, p: Parameters) -> Array:
        """KL(q || p) of each factor, [..., num_factors]; of a categorical that of its classes.

        This is less than the KL of the Concretes, which has no closed form: the largest coordinate
        of a Concrete is a draw of the class, at any temperature.
        """
        divergences = []
        for ours, theirs in zip(self._by_run(q), self._by_run(p), strict=True):
            log_q, log_p = jax.nn.log_softmax(ours), jax.nn.log_softmax(theirs)
            log_p = align(log_p, log_q.ndim)
            divergences.append((jnp.exp(log_q) * (log_q - log_p)).sum(-1))
        return jnp.concatenate([*divergences, self.normals.factor_kl(q, p)], axis=-1)

    def log_prob(self, parameters: Parameters, z: Array) -> Array:
        """Log-density of codes z [..., D], [...]; parameters have z's trailing axes."""
        return self.factor_log_prob(parameters, z).sum(-1)

    def prior_log_prob(self, z: Array) -> Array:
        """Log-density of the prior at codes z [..., D]."""
        return self.log_prob(self.prior(), z)

    def features(self, z: Array) -> Array:
        """Codes as decoders and probes see them: z on the simplex, Gaussian coordinates as is."""
        categorical = jnp.exp(z[..., : self.num_logits])
        return jnp.concatenate([categorical, z[..., self.num_logits :]], axis=-1)

    def _by_run(self, parameters: Parameters) -> list[Array]:
        """Logits [..., number, classes] of every run."""
        return [run.of(parameters["logits"]) for run in self.runs]


def _joined(by_run: list[Array], normal: Array) -> Array:
    """[..., number, classes] of every run and [..., dim], side by side: [..., D]."""
    flat = [x.reshape(*x.shape[:-2], -1) for x in by_run]
    return jnp.concatenate([*flat, normal], axis=-1)
