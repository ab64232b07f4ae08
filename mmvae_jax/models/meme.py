"""MEME: mutual supervision of two modalities (Joy et al., ICLR 2022).

There is no joint posterior and no p(z). Information flows s -> z -> t: the encoder q(z | s) is held
to the encoder of t, which serves as conditional prior p(z | t), and the decoder q(t | z) tells how
well z explains t. The mirrored flow t -> z -> s uses the same four networks. Where t is missing,
learned pseudo-samples of t, passed through its encoder, stand for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import experts, objectives, rules
from mmvae_jax.models import pseudo_samples
from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.models.latents import Parameters, require_normal
from mmvae_jax.models.modalities import common_options, require_shared_only
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, UserError, Variables

COMBINATIONS = ("none", "product", "mixture")
DIRECTIONS = ("mean", "sum")
DIVERGENCES = ("sampled", "analytic")

RULES = {
    "model.combination": rules.choice(*COMBINATIONS),
    "model.num_pseudo": rules.integer(1),
    "model.pseudo_start": rules.choice(*pseudo_samples.STARTS),
    "objective.num_samples": rules.integer(1),
    "objective.label_coefficient": rules.real(0.0),
    "objective.directions": rules.choice(*DIRECTIONS),
    "objective.divergence": rules.choice(*DIVERGENCES),
}


@dataclasses.dataclass(frozen=True)
class MEME(MultimodalVAE):
    """The model of the paper, with the choices of its published code as options.

    Attributes:
      combination: ``none``, two modalities, or the paper's sketch for more (App. E): each modality
        is the source once, and its conditional prior is the ``product`` or the uniform ``mixture``
        of the encoders of the other present ones.
      num_pseudo: N, pseudo-samples of each modality.
      pseudo_start: what they start from: ``data``, the first batch as in the published code, or
        ``noise``. Complete rows do not train them, so that complete data need ``data``.
      num_samples: K, fresh draws in the estimate of q(t | s), beside the one of the bound.
      label_coefficient: factor on log q(t | s): 1 in the paper, 10 in its code.
      directions: ``mean`` over the flows (paper) or their ``sum`` (code).
      divergence: log p(z | t) - log q(z | s) at the draw, ``sampled`` as in Eq. 6, or ``analytic``
        as in the code. The weight depends on the draw too, so that the two differ in the mean.
    """

    combination: str = "none"
    num_pseudo: int = 128
    pseudo_start: str = "data"
    num_samples: int = 10
    label_coefficient: float = 1.0
    directions: str = "mean"
    divergence: str = "sampled"

    def __post_init__(self) -> None:
        require_shared_only(
            self.specs,
            "config.model.private_dim: MEME has no private spaces, but {name!r} asks for one: "
            "set it to 0",
        )
        if len(self.specs) < 2:
            raise UserError("MEME needs two modalities: each supervises the other")
        if len(self.specs) > 2 and self.combination == "none":
            raise UserError(
                f"config.model.combination = 'none': MEME pairs two modalities, and the data have "
                f"{len(self.specs)}; set config.data.num_modalities = 2, or choose how the others "
                "are combined: 'product' or 'mixture'"
            )
        if self.combination == "mixture" and self.divergence == "analytic":
            raise UserError(
                "config.objective.divergence = 'analytic': there is none to a mixture; "
                "use 'sampled', or config.model.combination = 'product'"
            )
        if self.combination != "mixture":
            otherwise = "; use it, or config.model.combination = 'mixture'"
            require_normal(self.shared.family, further=otherwise)

    # --- pseudo-samples -----------------------------------------------------------------------

    def init(self, rng: PRNGKey, batch: Batch) -> dict[str, Any]:
        """Parameters, with {"pseudo": {name: free numbers [N, ...]}} beside those of networks."""
        variables = super().init(rng, batch)
        pseudo = {}
        for index, spec in enumerate(self.specs):
            pseudo[spec.name] = pseudo_samples.initial(
                jax.random.fold_in(jax.random.fold_in(rng, index), 3),
                spec,
                self.encoder_input(spec, batch["x"][spec.name]),
                batch["present"][spec.name],
                self.num_pseudo,
                self.pseudo_start,
            )
        return {**variables, "params": {**variables["params"], "pseudo": pseudo}}

    def pseudo_experts(self, variables: Variables) -> Parameters:
        """q(z | u_i) of every modality's pseudo-samples, [M, N, D]."""
        found = []
        for spec in self.specs:
            u = pseudo_samples.inputs(spec, variables["params"]["pseudo"][spec.name])
            found.append(self.encode_one(variables, spec, u)[0])
        return jax.tree.map(lambda *rows: jnp.stack(rows), *found)

    # --- answers ------------------------------------------------------------------------------

    def strata(
        self, variables: Variables, batch: Batch, shared: Parameters, present: Array
    ) -> tuple[Parameters, Array]:
        """The present encoders: q(z | s) given s alone, their uniform mixture given more.

        The paper embeds each modality by its own encoder and does not combine them.
        """
        del variables, batch
        return shared, present

    def generate(
        self, variables: Variables, rng: PRNGKey, n: int, private_scale: float = 1.0
    ) -> dict[str, Array]:
        """Decoder means [n, *shape] of draws from (1 / M N) sum_m sum_i q(z | u_i^m)."""
        del private_scale
        choose, draw = jax.random.split(rng)
        pseudo = self.pseudo_experts(variables)
        place = jax.random.randint(choose, (n,), 0, len(self.specs) * self.num_pseudo)
        chosen = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1])[place], pseudo)
        z = self.shared.sample(chosen, draw)
        return self.mean(self.decode(variables, z, {}))

    def log_weights(
        self,
        variables: Variables,
        rng: PRNGKey,
        batch: Batch,
        given: Sequence[str],
        of: Sequence[str],
        num_samples: int,
    ) -> Array:
        """Not to be had: see the message."""
        raise NotImplementedError(
            "MEME defines no prior p(z), only p(z | t) and a p(t) that it does not model: "
            "there is no likelihood to estimate"
        )

    def marginal_and_conditional_log_weights(
        self,
        variables: Variables,
        rng: PRNGKey,
        batch: Batch,
        of: Array,
        given: Array,
        num_samples: int,
    ) -> tuple[Array, Array]:
        """Not to be had either."""
        log_w = self.log_weights(variables, rng, batch, (), (), num_samples)
        return log_w, log_w

    # --- objective ----------------------------------------------------------------------------

    def loss(
        self, variables: Variables, rng: PRNGKey, batch: Batch, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Minus the mean (or sum) of Eq. 6 over the present sources, [B], and its parts.

        A row with one modality has the bound of Eq. 4, the same expression with nothing to
        supervise and the pseudo-samples as prior. The constant log p(t) is left out. Factors on
        likelihoods (lambda) apply to both decoders' roles, and in the weight too.
        """
        del step
        present = self.present(batch)
        found = self.experts(variables, batch).shared
        codes = self.shared.sample(found, rng, (self.num_samples + 1,))  # [K + 1, S, B, D]
        log_px = self.scores(variables, batch, codes)  # [K + 1, S, M, B]
        own = np.eye(len(self.specs), dtype=bool)[..., None]
        weighted = self.weights[None, None, :, None] * log_px
        log_ratio = self.log_ratio(found, self.pseudo_experts(variables), codes[0], present)
        bound, weight = objectives.mutual_supervision(
            weighted[0].sum(1, where=own),
            weighted.sum(2, where=~own[None]),
            log_ratio,
            label_coefficient=self.label_coefficient,
        )
        if self.directions == "mean":
            bound = objectives.strata_mean(bound, present)
        else:
            bound = jnp.where(present, bound, 0.0).sum(0)
        terms = {"bound": bound, "kl/shared": objectives.strata_mean(-log_ratio, present)}
        for index, name in enumerate(self.names):
            terms[f"log_px/{name}"] = log_px[0, index, index]
            terms[f"weight/{name}"] = jnp.where(present[index], weight[index], 0.0)
        return -bound, terms

    def scores(self, variables: Variables, batch: Batch, codes: Array) -> Array:
        """log p(x_m | code) [K + 1, S, M, B] of codes [K + 1, S, B, D], the bound's draw first.

        Fresh draws of a source tell of the other modalities only: its own column is 0 there.
        """
        count, sources = codes.shape[:2]
        sees = np.broadcast_to(~np.eye(sources, dtype=bool), (count, sources, sources)).copy()
        sees[0] = True
        flat = codes.reshape(count * sources, *codes.shape[2:])
        found = self.score(variables, batch, flat, {}, sees.reshape(-1, sources))
        return found.reshape(count, sources, *found.shape[1:])

    def log_ratio(self, found: Parameters, pseudo: Parameters, z: Array, present: Array) -> Array:
        """log p(z | others) - log q(z | source), or minus its expectation, [S, B].

        Where no other modality is present, the pseudo-samples' prior takes the place of
        p(z | others), always at the draw.

        Args:
          found: encoders' posteriors [M, B, D].
          pseudo: those of the pseudo-samples [M, N, D].
          z: one draw of each source [S, B, D].
          present: bool [M, B].
        """
        others = ~np.eye(len(self.specs), dtype=bool)  # [S, M]
        given = jnp.asarray(others)[..., None] & present[None]  # [S, M, B]
        log_q = self.shared.log_prob(found, z)
        if self.divergence == "analytic":
            supervised = -self.shared.kl(found, self._product(found, given))
        else:
            supervised = self._log_combined(found, given, z) - log_q
        # The i-th pseudo-samples of all others form a tuple, combined as observed ones are.
        every = jnp.asarray(others)[..., None]
        one_each = jax.vmap(
            lambda tuple_: self._log_combined(jax.tree.map(lambda x: x[:, None], tuple_), every, z),
            in_axes=1,
        )(pseudo)  # [N, S, B]
        alone = objectives.log_mean_exp(one_each, axis=0) - log_q
        return jnp.where(given.any(1), supervised, alone)

    def _product(self, found: Parameters, given: Array) -> Parameters:
        """For every source the product of the given experts, without a prior: [S, B, D]."""
        return jax.vmap(lambda mask: self.shared.product(found, mask, prior=False))(given)

    def _log_combined(self, found: Parameters, given: Array, z: Array) -> Array:
        """log-density at z [S, B, D] of each source's combination of given experts, [S, B].

        found: experts [M, B, D] or, the same for all rows, [M, 1, D]; given: bool [S, M, B or 1].
        """
        if self.combination != "mixture":
            return self.shared.log_prob(self._product(found, given), z)
        log_q = jax.vmap(lambda expert: self.shared.log_prob(expert, z))(found)  # [M, S, B]
        mask = jnp.broadcast_to(jnp.swapaxes(given, 0, 1), log_q.shape)
        return experts.mixture_log_prob(log_q, mask)


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> MEME:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    return MEME(
        specs=specs,
        **common_options(model),
        combination=model["combination"],
        num_pseudo=model["num_pseudo"],
        pseudo_start=model["pseudo_start"],
        num_samples=objective["num_samples"],
        label_coefficient=objective["label_coefficient"],
        directions=objective["directions"],
        divergence=objective["divergence"],
    )
