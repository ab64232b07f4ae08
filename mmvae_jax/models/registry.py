"""The models by name, and what a config may choose of a modality."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mmvae_jax.models import mmvae_plus
from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.types import ModalitySpec, UserError, nearest

MODELS: dict[str, Callable[..., MultimodalVAE]] = {
    "mmvae_plus": mmvae_plus.from_config,
}


def specs_from_config(
    model: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> tuple[ModalitySpec, ...]:
    """The data set's specs with the config's choices: likelihood, private size and networks."""
    chosen = model["network_options"].get(model["network"], {}).items()
    options = tuple(sorted((key, _frozen(value)) for key, value in chosen))
    return tuple(
        dataclasses.replace(
            spec,
            likelihood=model["likelihood"] or spec.likelihood,
            likelihood_scale=model["likelihood_scale"],
            learn_likelihood_scale=model["learn_likelihood_scale"],
            private_dim=model["private_dim"],
            network=model["network"],
            network_options=options,
        )
        for spec in specs
    )


def build(config: Mapping[str, Any], specs: tuple[ModalitySpec, ...]) -> MultimodalVAE:
    """Builds the model that a validated config names, for final modality specs."""
    name = config["model"]["name"]
    if name not in MODELS:
        raise UserError(
            f"model.name: unknown model {name!r}; known: {', '.join(sorted(MODELS))}"
            f"{nearest(name, MODELS)}"
        )
    return MODELS[name](config["model"], config["objective"], specs)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
