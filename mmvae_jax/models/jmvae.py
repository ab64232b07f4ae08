"""JMVAE: a joint encoder beside single ones (Suzuki, Nakayama & Matsuo, 2016), in its KL form.

The joint posterior q(z | x_1 .. x_M) sees every modality at once; the single ones q(z | x_m) are
drawn to it by a divergence and serve where something is missing. The paper trains on complete
tuples only. Here a partial tuple trains the single encoders instead, by the ELBO of their product
with the prior expert, which is also the posterior given some of the modalities at test time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import networks, objectives, rules
from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.models.latents import Parameters, require_normal
from mmvae_jax.models.modalities import common_options, require_shared_only
from mmvae_jax.networks import mlp
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, Variables

RULES = {
    "model.joint_features": rules.integer(1),
    "model.joint_hidden": rules.integer(0),
    "objective.alpha": rules.real(0.0),
    "objective.beta": rules.real(0.0),
    "objective.warmup_steps": rules.integer(0),
}


@dataclasses.dataclass(frozen=True)
class JMVAE(MultimodalVAE):
    """Joint and single Gaussian encoders of one shared space.

    Attributes:
      joint_features: how many numbers each modality's feature network gives the joint head.
      joint_hidden: hidden units of the joint head; 0 makes it linear.
      alpha: factor on the divergences from the joint posterior to the single ones.
      beta: factor on the divergence from the posterior to the prior.
      warmup_steps: steps over which both divergences grow to their full weight.
    """

    joint_features: int = 128
    joint_hidden: int = 256
    alpha: float = 0.1
    beta: float = 1.0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        purpose = ", for products of its encoders and divergences between them"
        require_normal(self.shared.family, "JMVAE", purpose)
        require_shared_only(
            self.specs,
            "config.model.private_dim: JMVAE has no private spaces, but {name!r} asks for one: "
            "set it to 0",
        )

    # --- the joint encoder --------------------------------------------------------------------

    def init_extra(self, rng: PRNGKey) -> dict[str, Any]:
        """{"joint": {"features": {name: params}, "head": params}}."""
        features = {}
        for index, spec in enumerate(self.specs):
            dtype = jnp.int32 if spec.num_classes else jnp.float32
            x = self.encoder_input(spec, jnp.zeros((1, *spec.shape), dtype))
            key = jax.random.fold_in(rng, index)
            features[spec.name] = self._feature_network(spec).init(key, x)["params"]
        joined = jnp.zeros((1, len(self.specs) * self.joint_features))
        head = self._joint_head().init(jax.random.fold_in(rng, len(self.specs)), joined)
        return {"joint": {"features": features, "head": head["params"]}}

    def _feature_network(self, spec: ModalitySpec) -> Any:
        return networks.build_encoder(spec, self.joint_features, jnp.dtype(self.compute_dtype))

    def _joint_head(self) -> mlp.Encoder:
        hidden = (self.joint_hidden,) if self.joint_hidden else ()
        return mlp.Encoder(self.shared.num_outputs, hidden, jnp.dtype(self.compute_dtype))

    def joint_posterior(self, variables: Variables, batch: Batch) -> Parameters:
        """q(z | x_1 .. x_M), [B, D]; it means nothing in rows that lack a modality."""
        params = variables["params"]["joint"]
        features = [
            self._feature_network(spec).apply(
                {"params": params["features"][spec.name]},
                self.encoder_input(spec, batch["x"][spec.name]),
            )
            for spec in self.specs
        ]
        joined = jnp.concatenate(features, axis=-1)
        return self.shared.posterior(self._joint_head().apply({"params": params["head"]}, joined))

    def posterior(
        self, variables: Variables, batch: Batch, single: Parameters, present: Array
    ) -> Parameters:
        """The joint posterior where all of ``present`` [M, B] holds, else the product, [B, D]."""
        joint = self.joint_posterior(variables, batch)
        product = self.shared.product(single, present)
        complete = present.all(0)[:, None]
        return jax.tree.map(lambda q, p: jnp.where(complete, q, p), joint, product)

    def strata(
        self, variables: Variables, batch: Batch, shared: Parameters, present: Array
    ) -> tuple[Parameters, Array]:
        """One stratum: see `posterior`."""
        q = self.posterior(variables, batch, shared, present)
        return jax.tree.map(lambda x: x[None], q), present.any(0)[None]

    # --- objective ----------------------------------------------------------------------------

    def loss(
        self, variables: Variables, rng: PRNGKey, batch: Batch, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Minus what is maximised, [B], and its parts.

        Complete rows: E_q sum_m lambda_m log p(x_m | z) - beta KL(q || p) - alpha sum_m
        KL(q || q(z | x_m)) with q the joint posterior; partial rows: the same without the last
        term, with q the product. The term ``elbo`` has neither lambda, alpha nor beta: a lower
        bound on log p of what is present.
        """
        present = self.present(batch)
        single = self.experts(variables, batch).shared
        q = self.posterior(variables, batch, single, present)
        z = self.shared.sample(q, rng)
        every = np.ones((1, len(self.specs)), bool)
        log_px = self.score(variables, batch, z[None], {}, every)[0]  # [M, B]
        kl = self.shared.prior_kl(q)
        apart = jnp.where(present.all(0)[None], self.shared.kl(q, single), 0.0).sum(0)
        bound = objectives.elbo(
            self.weights[:, None] * log_px,
            self.beta * kl + self.alpha * apart,
            beta=objectives.linear_warmup(step, self.warmup_steps),
        )
        terms = {f"log_px/{name}": log_px[m] for m, name in enumerate(self.names)}
        terms |= {"elbo": objectives.elbo(log_px, kl), "kl/shared": kl, "kl/to_single": apart}
        return -bound, terms


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> JMVAE:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    return JMVAE(
        specs=specs,
        **common_options(model),
        joint_features=model["joint_features"],
        joint_hidden=model["joint_hidden"],
        alpha=objective["alpha"],
        beta=objective["beta"],
        warmup_steps=objective["warmup_steps"],
    )
