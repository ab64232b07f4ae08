"""The contract that every model keeps, and the answers that most models share.

A model says how experts become strata (`strata`) and what it trains on (`loss`). Encoding,
conditional generation, imputation and likelihood estimates follow from these here, once.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from mmvae_jax import experts
from mmvae_jax.models.latents import Experts, Parameters, Posterior
from mmvae_jax.models.modalities import Modalities
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, Variables


@dataclasses.dataclass(frozen=True)
class MultimodalVAE(Modalities, abc.ABC):
    """A multimodal VAE with one shared space and, where a spec asks for it, private ones."""

    # --- what a model answers -----------------------------------------------------------------

    @abc.abstractmethod
    def strata(
        self, variables: Variables, batch: Batch, shared: Parameters, present: Array
    ) -> tuple[Parameters, Array]:
        """Combines experts [M, B, D], of which ``present`` [M, B] count, into strata.

        Returns:
          Parameters [S, B, D] and a mask [S, B] of the strata that live. Where nothing is present
          the strata may be anything finite: callers put the prior there.
        """

    @abc.abstractmethod
    def loss(
        self, variables: Variables, rng: PRNGKey, batch: Batch, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The training objective per example, to be minimised.

        Args:
          variables: Flax collections.
          rng: key of this step.
          batch: a prepared batch.
          step: int32 scalar, for annealed coefficients.

        Returns:
          loss [B] and named float32 terms [B] for the metrics, both without ``weight``. A term
          named ``<quantity>/<modality>`` is averaged over the rows that have the modality.
        """

    # --- encode -------------------------------------------------------------------------------

    def encode(
        self, variables: Variables, batch: Batch, given: Sequence[str] | None = None
    ) -> Posterior:
        """Posterior parameters by block, given the present ones of ``given`` (default: all)."""
        found = self.experts(variables, batch, given)
        return self._combined(variables, batch, found, self.present(batch, given))

    def _combined(
        self, variables: Variables, batch: Batch, found: Experts, present: Array
    ) -> Posterior:
        """The posterior given those modalities whose experts are ``present`` [M, B]."""
        shared, alive = self.strata(variables, batch, found.shared, present)
        some = present.any(0)
        prior = self.shared_prior(variables, some.shape)
        # Nothing observed: every stratum is the prior.
        shared = jax.tree.map(
            lambda stratum, p: jnp.where(some[None, :, None], stratum, p[None]), shared, prior
        )
        return Posterior(shared, alive | ~some[None], found.private)

    def embed(
        self, variables: Variables, batch: Batch, given: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Posterior means: ``shared`` [B, D] and ``private/<name>`` [B, W] (0 where absent)."""
        posterior = self.encode(variables, batch, given)
        weight = posterior.strata.astype(jnp.float32)
        weight = weight / weight.sum(0, keepdims=True)
        present = self.present(batch, given)
        means = {"shared": (weight[..., None] * self.shared.mean(posterior.shared)).sum(0)}
        for index, spec in enumerate(self.specs):
            if spec.private_dim:
                loc = posterior.private[spec.name]["loc"]
                means[f"private/{spec.name}"] = jnp.where(present[index][:, None], loc, 0.0)
        return means

    def sample_shared(self, posterior: Posterior, rng: PRNGKey, num_samples: int) -> Array:
        """Ancestral draws [K, B, D] from the mixture of the strata that live."""
        choose, draw = jax.random.split(rng)
        batch = posterior.strata.shape[1]
        logits = jnp.where(posterior.strata, 0.0, -jnp.inf).T  # [B, S]
        stratum = jax.random.categorical(choose, logits, shape=(num_samples, batch))
        chosen = jax.tree.map(
            lambda x: jnp.take_along_axis(x, stratum[..., None], axis=0), posterior.shared
        )
        return self.shared.sample(chosen, draw)

    def sample_posterior(
        self,
        variables: Variables,
        rng: PRNGKey,
        batch: Batch,
        given: Sequence[str] | None,
        num_samples: int,
    ) -> tuple[Array, dict[str, Array]]:
        """Draws of the shared code [K, B, D] and of the private codes {name: [K, B, W]}.

        A private code whose modality is not observed comes from its prior.
        """
        posterior = self.encode(variables, batch, given)
        return self._draws(rng, posterior, self.present(batch, given), num_samples)

    def _draws(
        self, rng: PRNGKey, posterior: Posterior, present: Array, num_samples: int
    ) -> tuple[Array, dict[str, Array]]:
        """Codes as `sample_posterior` draws them, of modalities ``present`` [M, B]."""
        shared = self.sample_shared(posterior, jax.random.fold_in(rng, 0), num_samples)
        return shared, self._sample_private(rng, posterior.private, present, num_samples)

    def _sample_private(
        self,
        rng: PRNGKey,
        private: Mapping[str, Parameters],
        present: Array,
        num_samples: int,
    ) -> dict[str, Array]:
        """Draws {name: [K, B, W]} of q(w | x) where ``present`` [M, B], of p(w) elsewhere."""
        known = {
            spec.name: self._private_or_prior(spec, private, present[index])
            for index, spec in enumerate(self.specs)
            if spec.private_dim
        }
        return self.draw_private(rng, known, (num_samples,))

    def draw_private(
        self, rng: PRNGKey, private: Mapping[str, Parameters], sample_shape: tuple[int, ...] = ()
    ) -> dict[str, Array]:
        """Draws {name: [*sample_shape, ..., W]} of every private code from its parameters."""
        return {
            spec.name: self.private_space(spec).sample(
                private[spec.name], jax.random.fold_in(rng, index + 1), sample_shape
            )
            for index, spec in enumerate(self.specs)
            if spec.private_dim
        }

    def _private_or_prior(
        self, spec: ModalitySpec, private: Mapping[str, Parameters], present: Array
    ) -> Parameters:
        """q(w | x) where the modality is observed [B], p(w) elsewhere."""
        prior = self.private_space(spec).prior(present.shape)
        return jax.tree.map(
            lambda q, p: jnp.where(present[:, None], q, p), private[spec.name], prior
        )

    # --- generate -----------------------------------------------------------------------------

    def generate(
        self, variables: Variables, rng: PRNGKey, n: int, private_scale: float = 1.0
    ) -> dict[str, Array]:
        """Decoder means [n, *shape] of draws from the prior.

        Args:
          variables: Flax collections.
          rng: key.
          n: number of draws.
          private_scale: alpha, the factor on the scale of the private prior (MMVAE+, App. G).
        """
        shared = self.shared.sample(self.shared_prior(variables, (n,)), jax.random.fold_in(rng, 0))
        private = self.sample_private_prior(rng, (n,), private_scale)
        return self.mean(self.decode(variables, shared, private))

    def shared_prior(self, variables: Variables, batch_shape: tuple[int, ...] = ()) -> Parameters:
        """p(z), [*batch_shape, D]; standard unless a model learns it."""
        del variables
        return self.shared.prior(batch_shape)

    def sample_private_prior(
        self, rng: PRNGKey, shape: tuple[int, ...], private_scale: float | Array = 1.0
    ) -> dict[str, Array]:
        """Private codes {name: [*shape, W]} from their priors, scales times ``private_scale``."""
        priors = {spec.name: self.private_space(spec).prior(shape) for spec in self.specs}
        scale = jnp.asarray(private_scale, jnp.float32)
        return {name: code * scale for name, code in self.draw_private(rng, priors).items()}

    def conditional(
        self,
        variables: Variables,
        rng: PRNGKey,
        batch: Batch,
        given: Sequence[str],
        num_samples: int,
        private: str = "prior",
        private_scale: float = 1.0,
    ) -> dict[str, Array]:
        """Every modality generated from the given ones: decoder means [K, B, *shape].

        Args:
          variables: Flax collections.
          rng: key.
          batch: a prepared batch.
          given: names of the modalities that may be looked at.
          num_samples: K, draws per example.
          private: where private codes come from: ``prior``; ``own``, the posterior of that very
            modality of the example (given or not; the prior where it is absent); ``other``, the
            same of the batch's next example.
          private_scale: factor on the private prior's scale.
        """
        posterior = self.encode(variables, batch, given)
        shared = self.sample_shared(posterior, jax.random.fold_in(rng, 0), num_samples)
        here = self.present(batch)
        if private == "prior":
            codes = self.sample_private_prior(rng, shared.shape[:2], private_scale)
        elif private == "own":
            codes = self._sample_private(rng, posterior.private, here, num_samples)
        elif private == "other":
            codes = self._sample_private(rng, posterior.private, here, num_samples)
            codes = {name: jnp.roll(code, -1, axis=1) for name, code in codes.items()}
        else:
            raise ValueError(f"private must be 'prior', 'own' or 'other', not {private!r}")
        return self.mean(self.decode(variables, shared, codes))

    # --- likelihood ---------------------------------------------------------------------------

    def log_weights(
        self,
        variables: Variables,
        rng: PRNGKey,
        batch: Batch,
        given: Sequence[str],
        of: Sequence[str],
        num_samples: int,
    ) -> Array:
        """log p(x_of, x_given, z, w) / q(z, w | x_given) with raw likelihoods, [K, B].

        Its log-mean-exp over K estimates log p(x_of, x_given); draws from a mixture are ancestral
        among the present strata. Only present modalities count. Private codes of given modalities
        come from their posterior, those of the others from p(w), where the two densities cancel.
        """
        posterior = self.encode(variables, batch, given)
        observed, scored = self.present(batch, given), self.present(batch, [*given, *of])
        shared, private = self._draws(rng, posterior, observed, num_samples)
        log_q = self.shared_log_prob(posterior, shared)
        log_w = self.shared.log_prob(self.shared_prior(variables), shared) - log_q
        for index, spec in enumerate(self.specs):
            if spec.name not in (*given, *of):
                continue
            code = private.get(spec.name)
            log_px = self.log_px(variables, batch, spec, shared, code)
            log_w += jnp.where(scored[index][None], log_px, 0.0)
            if code is not None:
                ratio = self._private_ratio(spec, posterior, code)
                log_w += jnp.where(observed[index][None], ratio, 0.0)
        return log_w

    def marginal_and_conditional_log_weights(
        self,
        variables: Variables,
        rng: PRNGKey,
        batch: Batch,
        of: Array,
        given: Array,
        num_samples: int,
    ) -> tuple[Array, Array]:
        """Log-weights of log p(x_of) and of log p(x_of | x_given) at the same draws, each [K, B].

        What is drawn from is always the posterior given everything present. Marginal ones are
        log p(x_of | z, w) p(w) p(z) / q(z, w | x), where everything is scored the joint ones;
        conditional ones have q(z | x_given), which stands for p(z | x_given), in place of p(z)
        (Wu & Goodman 2018, suppl., table 2). Where nothing is given the two are the same.

        Args:
          variables: Flax collections.
          rng: key.
          batch: a prepared batch.
          of: bool [M], the modalities that are scored; only present ones count.
          given: bool [M], none of them scored.
          num_samples: K.
        """
        present = self.present(batch)
        found = self.experts(variables, batch)
        posterior = self._combined(variables, batch, found, present)
        some = self._combined(variables, batch, found, present & given[:, None])
        shared, private = self._draws(rng, posterior, present, num_samples)
        scores = jnp.zeros(shared.shape[:-1])
        for index, spec in enumerate(self.specs):
            code = private.get(spec.name)
            score = self.log_px(variables, batch, spec, shared, code)
            if code is not None:
                score += self._private_ratio(spec, posterior, code)
            scores += jnp.where((present[index] & of[index])[None], score, 0.0)
        log_q = self.shared_log_prob(posterior, shared)
        log_prior = self.shared.log_prob(self.shared_prior(variables), shared)
        log_some = self.shared_log_prob(some, shared)
        return scores + (log_prior - log_q), scores + (log_some - log_q)

    def _private_ratio(self, spec: ModalitySpec, posterior: Posterior, code: Array) -> Array:
        """log p(w) - log q(w | x) of private codes [K, B, W], giving [K, B]."""
        space = self.private_space(spec)
        return space.prior_log_prob(code) - space.log_prob(posterior.private[spec.name], code)

    def shared_log_prob(self, posterior: Posterior, shared: Array) -> Array:
        """log of the uniform mixture of living strata at codes [..., B, D], giving [..., B]."""
        log_q = self.strata_log_prob(posterior.shared, shared)
        alive = posterior.strata.reshape(
            posterior.strata.shape[:1] + (1,) * (shared.ndim - 2) + posterior.strata.shape[1:]
        )
        return experts.mixture_log_prob(log_q, jnp.broadcast_to(alive, log_q.shape))

    def strata_log_prob(self, shared: Parameters, z: Array) -> Array:
        """log q_r(z) of every stratum r for codes [..., B, D]: [R, ..., B]."""
        return jax.vmap(lambda stratum: self.shared.log_prob(stratum, z))(shared)
