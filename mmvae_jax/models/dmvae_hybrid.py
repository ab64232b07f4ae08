"""Hybrid DMVAE: shared codes of relaxed categoricals and Gaussians (Lee & Pavlovic 2021, Sec. 4.5).

`DMVAE` on a `HybridLatents` space. It serves to learn from few labels: a label is a modality
without a private code, and predicted by decoding it from the image's shared code.

What to watch when labels are a modality: two classes may take one code early on, and stay there
(label collision). Then ``entropy/<label>``, of the batch's mean class probabilities, falls by about
0.14 nats (ten classes in batches of 120 labels: from about 2.27 to 2.13), and
``log_px_cross/<label>``, what an image's code says of its own label, stays low. Starting the label
encoder at different codes (``label_init``) cures it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mmvae_jax import objectives, rules
from mmvae_jax.models import dmvae
from mmvae_jax.models.dmvae import DMVAE, KLs
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.models.latents import Experts
from mmvae_jax.models.modalities import common_options
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, UserError

SCHEDULES = ("constant", "linear", "exponential")


def categories(key: str, value: Any) -> None:
    """A list of class counts, each at least 2; may be empty."""
    if not isinstance(value, list | tuple):
        rules.fail(key, value, "a list of class counts, one per categorical")
    for count in value:
        rules.integer(2)(key, count)


RULES = {
    **dmvae.RULES,
    "model.categories": categories,
    "model.label_init": rules.real(0.0),
    "objective.temperature": rules.real(0.0, above=True),
    "objective.final_temperature": rules.real(0.0, above=True),
    "objective.temperature_schedule": rules.choice(*SCHEDULES),
    "objective.temperature_steps": rules.integer(1),
}


@dataclasses.dataclass(frozen=True)
class HybridDMVAE(DMVAE):
    """DMVAE whose shared space holds relaxed categoricals.

    The space's own temperature, which generation and evaluation use, is the final one.

    Attributes:
      label_init: where label encoders start: logits of ``label_init`` at a categorical's class c
        for label c, 0 elsewhere. Every label modality takes the first categorical of its size that
        is left. 0 leaves them as random as other encoders.
      initial_temperature: T at the first step.
      temperature_schedule: how it reaches the space's: ``constant`` (it is that one from the
        start), ``linear`` or ``exponential``.
      temperature_steps: after how many steps it does.
    """

    label_init: float = 0.0
    initial_temperature: float = 0.66
    temperature_schedule: str = "constant"
    temperature_steps: int = 1

    def shared_at(self, step: Array) -> HybridLatents:
        """The shared space at the temperature of a training step."""
        first, last = self.initial_temperature, self.shared.temperature
        done = objectives.linear_warmup(step, self.temperature_steps)
        if self.temperature_schedule == "linear":
            temperature = first + done * (last - first)
        elif self.temperature_schedule == "exponential":
            temperature = first * (last / first) ** done
        else:
            return self.shared
        return dataclasses.replace(self.shared, temperature=temperature)

    def metrics(
        self, found: Experts, present: Array, log_px: Array, decoded: Array, kl: KLs
    ) -> dict[str, Array]:
        """Those of `DMVAE`, and ``entropy/<name>``: of the batch's mean class probabilities."""
        terms = super().metrics(found, present, log_px, decoded, kl)
        if self.shared.categories:
            for index, name in enumerate(self.names):
                expert = jax.tree.map(lambda x, index=index: x[index], found.shared)
                entropy = self.shared.entropy_of_mean(expert, present[index].astype(jnp.float32))
                terms[f"entropy/{name}"] = jnp.broadcast_to(entropy, present[index].shape)
        return terms

    # --- start of label encoders --------------------------------------------------------------

    def init(self, rng: PRNGKey, batch: Batch) -> dict[str, Any]:
        """Parameters as of every model, with label encoders that tell classes apart."""
        variables = super().init(rng, batch)
        encoders = dict(variables["params"]["encoder"])
        for spec, start in self.label_columns().items():
            part, params = next(iter(encoders[spec.name].items()))  # "shared", or "both": z_s first
            params = self._separated(spec, part, params, start)
            encoders[spec.name] = {**encoders[spec.name], part: params}
        return {"params": {**variables["params"], "encoder": encoders}}

    def label_columns(self) -> dict[ModalitySpec, int]:
        """The first logit of the categorical that each label modality takes."""
        if not self.label_init:
            return {}
        starts, place = {}, 0
        for count in self.shared.categories:
            starts.setdefault(count, []).append(place)
            place += count
        labels = [
            spec
            for spec in self.specs
            if spec.num_classes and not spec.shape and spec.network == "mlp"
        ]
        return {
            spec: starts[spec.num_classes].pop(0) for spec in labels if starts.get(spec.num_classes)
        }

    def _separated(
        self, spec: ModalitySpec, part: str, params: dict[str, Any], start: int
    ) -> dict[str, Any]:
        """Encoder parameters that give ``label_init`` times a one-hot as logits of each class.

        The last layer is linear in its kernel: of all the kernels that do, the one nearest to the
        random start is taken (least squares).
        """
        last = f"Dense_{len(params) - 1}"
        module = dataclasses.replace(self, compute_dtype="float32")._encoders(spec)[part]
        one_hot = jnp.eye(spec.num_classes)

        def outputs(kernel: Array) -> Array:
            layer = {**params[last], "kernel": kernel}
            return module.apply({"params": {**params, last: layer}}, one_hot)

        kernel = params[last]["kernel"]
        hidden = jax.jacrev(lambda kernel: outputs(kernel)[:, 0])(kernel)[:, :, 0]
        columns = slice(start, start + spec.num_classes)
        residual = self.label_init * one_hot - outputs(kernel)[:, columns]
        change = jnp.linalg.lstsq(hidden, residual)[0]
        kernel = kernel.at[:, columns].add(change)
        return {**params, last: {**params[last], "kernel": kernel}}


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> HybridDMVAE:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    if not model["categories"] and not model["shared_dim"]:
        raise UserError(
            "config.model.categories is empty and model.shared_dim is 0: no shared code"
        )
    constant = objective["temperature_schedule"] == "constant"
    space = HybridLatents(
        categories=tuple(model["categories"]),
        dim=model["shared_dim"],
        temperature=objective["temperature" if constant else "final_temperature"],
        constraint=model["posterior_scale"],
    )
    return HybridDMVAE(
        specs=specs,
        **{**common_options(model), "shared": space},
        **dmvae.options(model, objective),
        label_init=model["label_init"],
        initial_temperature=objective["temperature"],
        temperature_schedule=objective["temperature_schedule"],
        temperature_steps=objective["temperature_steps"],
    )
