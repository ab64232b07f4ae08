"""What every model is made of: an encoder and a decoder per modality, and calls to them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import likelihoods, networks
from mmvae_jax.models import packing
from mmvae_jax.models.latents import Experts, LatentSpace, Parameters
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, UserError, Variables


@dataclasses.dataclass(frozen=True)
class Modalities:
    """Encoders, decoders, likelihoods and latent spaces of all modalities.

    Attributes:
      specs: the modalities, in the order of every M axis.
      shared: the shared latent space.
      separate_encoders: whether private codes have an encoder network of their own, or two heads
        leave one trunk.
      compute_dtype: ``float32`` or ``bfloat16``, inside networks only.
      remat: recompute decoder activations in the backward pass instead of keeping them.
      kinds: the rows of every batch, where that is known (see ``packing``): (which modalities they
        have, how many of them there are). Then `experts` and `score` run no network on what is
        absent. Results are the same; with other batches they are NaN.
    """

    specs: tuple[ModalitySpec, ...]
    shared: LatentSpace
    separate_encoders: bool = True
    compute_dtype: str = "float32"
    remat: bool = False
    kinds: packing.Kinds = ()

    # --- parameters ---------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities' names, in M order."""
        return tuple(spec.name for spec in self.specs)

    def spec(self, name: str) -> ModalitySpec:
        """The spec of one modality; UserError where there is none of that name."""
        for spec in self.specs:
            if spec.name == name:
                return spec
        raise UserError(f"no modality {name!r}; this model has {', '.join(self.names)}")

    def private_space(self, spec: ModalitySpec) -> LatentSpace:
        """The private latent space of a modality: the shared one's family, its own size."""
        return dataclasses.replace(self.shared, dim=spec.private_dim)

    def likelihood(self, spec: ModalitySpec) -> Any:
        """The modality's likelihood (see ``mmvae_jax.likelihoods``)."""
        return likelihoods.for_spec(spec)

    def check(self) -> None:
        """Raises UserError where sizes or networks do not fit; builds nothing."""
        if not self.shared.size:
            raise UserError("config.model.shared_dim = 0: this model needs a shared code")
        for spec in self.specs:
            networks.check_fits(spec)

    def init(self, rng: PRNGKey, batch: Batch) -> dict[str, Any]:
        """Parameters for a prepared batch of any size: {"params": {encoder, decoder, ...}}."""
        encoder: dict[str, Any] = {}
        decoder: dict[str, Any] = {}
        likelihood: dict[str, Any] = {}
        for index, spec in enumerate(self.specs):
            key = jax.random.fold_in(rng, index)
            x = self.encoder_input(spec, batch["x"][spec.name][:1])
            encoder[spec.name] = {
                part: module.init(jax.random.fold_in(key, place), x)["params"]
                for place, (part, module) in enumerate(self._encoders(spec).items())
            }
            code = jnp.zeros((1, self.shared.size + spec.private_dim))
            module = self._decoder(spec)
            decoder[spec.name] = module.init(jax.random.fold_in(key, 2), code)["params"]
            likelihood[spec.name] = self.likelihood(spec).init_params()
        params = {"encoder": encoder, "decoder": decoder, "likelihood": likelihood}
        return {"params": {**params, **self.init_extra(jax.random.fold_in(rng, len(self.specs)))}}

    def init_extra(self, rng: PRNGKey) -> dict[str, Any]:
        """Parameters beside encoders and decoders, such as those of learned priors."""
        del rng
        return {}

    def _encoders(self, spec: ModalitySpec) -> dict[str, Any]:
        """The modality's encoder modules by what they give."""
        dtype = jnp.dtype(self.compute_dtype)
        shared = self.shared.num_outputs
        if not spec.private_dim:
            return {"shared": networks.build_encoder(spec, shared, dtype)}
        private = self.private_space(spec).num_outputs
        if self.separate_encoders:
            return {
                "shared": networks.build_encoder(spec, shared, dtype),
                "private": networks.build_encoder(spec, private, dtype),
            }
        return {"both": networks.build_encoder(spec, shared + private, dtype)}

    def _decoder(self, spec: ModalitySpec) -> Any:
        shape = self.likelihood(spec).output_shape
        return networks.build_decoder(spec, shape, jnp.dtype(self.compute_dtype))

    # --- encode -------------------------------------------------------------------------------

    def present(self, batch: Batch, given: Sequence[str] | None = None) -> Array:
        """Which modalities are there and asked for, bool [M, B]."""
        rows = [batch["present"][name] & (given is None or name in given) for name in self.names]
        return jnp.stack(rows)

    def encoder_input(self, spec: ModalitySpec, x: Array) -> Array:
        """Data as the encoder takes them.

        Class indices [B, *shape] become one-hot, counts log(1 + x); vectors are standardised. The
        class that is not scored becomes zeros, which are no embedding.
        """
        if spec.unscored_id >= 0:
            x = jnp.where(x == spec.unscored_id, -1, x)
        if spec.num_classes:
            return jax.nn.one_hot(x, spec.num_classes)
        if spec.is_counts:
            return jnp.log1p(x.astype(jnp.float32))
        return spec.standardised(x)

    def encode_one(
        self, variables: Variables, spec: ModalitySpec, x: Array
    ) -> tuple[Parameters, Parameters | None]:
        """The shared expert [B, D] and the private one [B, W] of one modality.

        Args:
          variables: Flax collections.
          spec: the modality.
          x: what `encoder_input` gives; for class indices also anything relaxed on the simplex.
        """
        params = variables["params"]["encoder"][spec.name]
        raw = {
            part: module.apply({"params": params[part]}, x)
            for part, module in self._encoders(spec).items()
        }
        if "both" in raw:
            cut = self.shared.num_outputs
            raw = {"shared": raw["both"][..., :cut], "private": raw["both"][..., cut:]}
        shared = self.shared.posterior(raw["shared"])
        if not spec.private_dim:
            return shared, None
        return shared, self.private_space(spec).posterior(raw["private"])

    def experts(
        self, variables: Variables, batch: Batch, given: Sequence[str] | None = None
    ) -> Experts:
        """Runs every encoder on a prepared batch; absent modalities may give anything finite.

        Shared experts of modalities that are not among ``given`` are the prior, so that a program
        that asks for nothing private of them leaves their encoders out.
        """
        shared, private = [], {}
        sizes = packing.most(self.kinds, lambda present: present) if self.kinds else None
        for index, spec in enumerate(self.specs):
            x = self.encoder_input(spec, batch["x"][spec.name])
            if sizes is None:
                expert, own = self.encode_one(variables, spec, x)
            else:
                here = batch["present"][spec.name]
                expert, own = self._encode_rows(variables, spec, x, here, int(sizes[index]))
            if given is not None and spec.name not in given:
                expert = self.shared.prior(x.shape[:1])
            shared.append(expert)
            if own is not None:
                private[spec.name] = own
        return Experts(jax.tree.map(lambda *rows: jnp.stack(rows), *shared), private)

    def _encode_rows(
        self, variables: Variables, spec: ModalitySpec, x: Array, rows: Array, size: int
    ) -> tuple[Parameters, Parameters | None]:
        """`encode_one` on at most ``size`` ``rows`` [B], and the priors for the others."""
        index = packing.pack(rows, size)
        shared, private = self.encode_one(variables, spec, packing.take(x, index, 0))

        def put(prior: Parameters, found: Parameters) -> Parameters:
            return jax.tree.map(lambda p, q: packing.put(p, index, q, rows, 0), prior, found)

        shared = put(self.shared.prior(rows.shape), shared)
        if private is None:
            return shared, None
        return shared, put(self.private_space(spec).prior(rows.shape), private)

    # --- decode -------------------------------------------------------------------------------

    def decode_one(
        self, variables: Variables, spec: ModalitySpec, shared: Array, private: Array | None
    ) -> Parameters:
        """Likelihood parameters [..., *shape] of one modality, in one call of its decoder."""
        code = self.shared.features(shared)
        code = code if private is None else jnp.concatenate([private, code], axis=-1)
        module = self._decoder(spec)

        def run(params: Any, flat: Array) -> Array:
            return module.apply({"params": params}, flat)

        run = jax.checkpoint(run) if self.remat else run
        flat = code.reshape(math.prod(code.shape[:-1]), code.shape[-1])
        outputs = run(variables["params"]["decoder"][spec.name], flat).astype(jnp.float32)
        outputs = outputs.reshape(*code.shape[:-1], *outputs.shape[1:])
        extra = variables["params"]["likelihood"][spec.name]
        return self.likelihood(spec).parameters(outputs, extra)

    def decode(
        self, variables: Variables, shared: Array, private: Mapping[str, Array]
    ) -> dict[str, Parameters]:
        """Likelihood parameters of every modality from codes [..., D] and {name: [..., W]}."""
        return {
            spec.name: self.decode_one(variables, spec, shared, private.get(spec.name))
            for spec in self.specs
        }

    def mean(self, parameters: Mapping[str, Parameters]) -> dict[str, Array]:
        """Decoder means in data units from `decode`'s output."""
        return {name: self.likelihood(self.spec(name)).mean(p) for name, p in parameters.items()}

    def log_px(
        self,
        variables: Variables,
        batch: Batch,
        spec: ModalitySpec,
        shared: Array,
        private: Array | None,
    ) -> Array:
        """log p(x | codes) of one modality: codes [..., B, D] to [..., B]; any number if absent."""
        parameters = self.decode_one(variables, spec, shared, private)
        return self.likelihood(spec).log_prob(parameters, batch["x"][spec.name])

    def score(
        self,
        variables: Variables,
        batch: Batch,
        shared: Array,
        private: Mapping[str, Array],
        sees: np.ndarray,
        living: Callable[[Array], Array] | None = None,
    ) -> Array:
        """log p(x_m | codes of stratum s) for the pairs that ``sees`` names, [..., S, M, B].

        One call of each decoder, on the strata that it sees. Other pairs, absent modalities and
        what does not live are 0; likelihood weights (lambda) are not applied.

        Args:
          variables: Flax collections.
          batch: a prepared batch.
          shared: codes [..., S, B, D].
          private: codes {name: [..., S, B, W]}.
          sees: bool [S, M], static: which decoder sees which stratum.
          living: which strata live in a row that has these modalities: bool [M, N] to [S, N].
            Default: all.
        """

        def pairs(present: Array) -> Array:
            """Which codes are scored, [S, M, N]."""
            seen = present[None] & sees[..., None]
            return seen if living is None else seen & living(present)[:, None]

        alive = pairs(self.present(batch))
        sizes = packing.most(self.kinds, pairs).sum(0) if self.kinds else None
        columns = []
        for index, spec in enumerate(self.specs):
            strata = np.flatnonzero(sees[:, index])
            column = jnp.zeros(shared.shape[:-1])
            if strata.size:
                codes = shared[..., strata, :, :]
                own = private.get(spec.name)
                own = None if own is None else own[..., strata, :, :]
                here = jnp.broadcast_to(alive[strata, index], codes.shape[:-1])
                if sizes is None:
                    found = self.log_px(variables, batch, spec, codes, own)
                else:
                    rows, size = alive[strata, index], int(sizes[index])
                    found = self._score_rows(variables, batch, spec, codes, own, rows, size)
                column = column.at[..., strata, :].set(jnp.where(here, found, 0.0))
            columns.append(column)
        return jnp.stack(columns, axis=-2)

    def _score_rows(
        self,
        variables: Variables,
        batch: Batch,
        spec: ModalitySpec,
        shared: Array,
        private: Array | None,
        rows: Array,
        size: int,
    ) -> Array:
        """`log_px` of codes [..., S, B, D] where ``rows`` [S, B], at most ``size``; 0 elsewhere."""
        index = packing.pack(rows.reshape(-1), size)

        def packed(codes: Array) -> Array:
            flat = codes.reshape(*codes.shape[:-3], rows.size, codes.shape[-1])
            return packing.take(flat, index, -2)

        x = packing.take(batch["x"][spec.name], index % rows.shape[1], 0)
        own = None if private is None else packed(private)
        parameters = self.decode_one(variables, spec, packed(shared), own)
        found = self.likelihood(spec).log_prob(parameters, x)
        nothing = jnp.zeros((*shared.shape[:-3], rows.size))
        return packing.put(nothing, index, found, rows, -1).reshape(shared.shape[:-1])

    @property
    def weights(self) -> np.ndarray:
        """lambda of every modality, float32 [M]."""
        return np.array([spec.weight for spec in self.specs], np.float32)


def require_shared_only(specs: Sequence[ModalitySpec], said: str) -> None:
    """Raises UserError where a modality asks for a private code, for models that have none.

    Args:
      specs: the modalities.
      said: the message, with ``{name}`` and ``{size}`` in place of the first such modality's.
    """
    for spec in specs:
        if spec.private_dim:
            raise UserError(said.format(name=spec.name, size=spec.private_dim))


def common_options(model: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that every model has, from the section ``model`` of a config."""
    return {
        "shared": LatentSpace(model["shared_dim"], model["latent"], model["posterior_scale"]),
        "separate_encoders": model["separate_encoders"],
        "compute_dtype": model["compute_dtype"],
        "remat": model["remat"],
    }
