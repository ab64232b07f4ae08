"""The models by name, and what a config may choose of a modality."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from mmvae_jax import likelihoods, networks, rules
from mmvae_jax.models import (
    dmvae,
    dmvae_hybrid,
    jmvae,
    latents,
    meme,
    mmjsd,
    mmvae,
    mmvae_plus,
    mopoe,
    mvae,
)
from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.rules import Rule
from mmvae_jax.types import ModalitySpec, UserError, nearest

# Each module offers `from_config(model, objective, specs)` and RULES, {"model.x" or
# "objective.y": rule} for the keys that its config has beside those of COMMON_RULES.
MODELS: dict[str, ModuleType] = {
    "dmvae": dmvae,
    "dmvae_hybrid": dmvae_hybrid,
    "jmvae": jmvae,
    "meme": meme,
    "mmjsd": mmjsd,
    "mmvae": mmvae,
    "mmvae_plus": mmvae_plus,
    "mopoe": mopoe,
    "mvae": mvae,
}


def network_options(key: str, value: Any) -> None:
    """{family: {option: size or list of sizes}}, of the kinds that the family's OPTIONS have."""
    rules.of_type(Mapping)(key, value)
    for family, options in value.items():
        rules.choice(*networks.FAMILIES)(key, family)
        rules.of_type(Mapping)(f"{key}.{family}", options)
        known = networks.FAMILIES[family].OPTIONS
        for name, size in options.items():
            rules.choice(*known)(f"{key}.{family}", name)
            if isinstance(known[name], tuple) != isinstance(size, list | tuple):
                kind = "a list of sizes" if isinstance(known[name], tuple) else "one size"
                rules.fail(f"{key}.{family}.{name}", size, kind)
            for item in size if isinstance(size, list | tuple) else [size]:
                least = getattr(networks.FAMILIES[family], "LEAST", {}).get(name, 1)
                rules.integer(least)(f"{key}.{family}.{name}", item)


# What `config.model.modalities.<name>` may say of one modality, in place of the general value.
MODALITY_RULES: dict[str, Rule] = {
    "likelihood": rules.choice(*sorted(likelihoods.LIKELIHOODS)),
    "likelihood_scale": rules.real(0.0, above=True),
    "learn_likelihood_scale": rules.of_type(bool),
    "weight": rules.real(0.0, above=True),
    "private_dim": rules.integer(0),
    "network": rules.choice(*sorted(networks.FAMILIES)),
    "network_options": rules.of_type(Mapping),
}


def modalities(key: str, value: Any) -> None:
    """{modality: {setting: value}}; whether there is such a modality is known with the data."""
    rules.of_type(Mapping)(key, value)
    for name, settings in value.items():
        rules.of_type(Mapping)(f"{key}.{name}", settings)
        for setting, chosen in settings.items():
            rules.choice(*MODALITY_RULES)(f"{key}.{name}", setting)
            MODALITY_RULES[setting](f"{key}.{name}.{setting}", chosen)


COMMON_RULES: dict[str, Rule] = {
    "model.name": rules.choice(*sorted(MODELS)),
    "model.shared_dim": rules.integer(0),
    "model.private_dim": rules.integer(0),
    "model.latent": rules.choice(*latents.FAMILIES),
    "model.posterior_scale": rules.choice(*latents.CONSTRAINTS),
    "model.separate_encoders": rules.of_type(bool),
    "model.likelihood": rules.choice("", *sorted(likelihoods.LIKELIHOODS)),
    "model.likelihood_scale": rules.real(0.0, above=True),
    "model.learn_likelihood_scale": rules.of_type(bool),
    "model.network": rules.choice(*sorted(networks.FAMILIES)),
    "model.network_options": network_options,
    "model.modalities": modalities,
    "model.compute_dtype": rules.choice("float32", "bfloat16"),
    "model.remat": rules.of_type(bool),
}


def specs_from_config(
    model: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> tuple[ModalitySpec, ...]:
    """The data set's specs with the config's choices: likelihood, private size and networks.

    `model.likelihood`, its scale and `model.network` are for images; vectors, counts, attributes,
    labels and texts keep the data set's likelihood and get an MLP, texts the network of that name.
    Whatever `model.modalities.<name>` says comes last.

    Raises:
      UserError: the config names a modality that is not there, or a likelihood that is not of its
        kind of data.
    """
    own = model.get("modalities", {})
    for name in own:
        names = [spec.name for spec in specs]
        if name not in names:
            raise UserError(
                f"config.model.modalities.{name}: the data have no such modality, only "
                f"{', '.join(names)}{nearest(name, names)}"
            )
    for spec in specs:
        _check_likelihood(spec, own.get(spec.name, {}).get("likelihood"))
    return tuple(_spec_from_config(model, spec, own.get(spec.name, {})) for spec in specs)


def _check_likelihood(spec: ModalitySpec, chosen: str | None) -> None:
    """Raises UserError where classes or tokens are to be scored as if they were numbers."""
    found = likelihoods.LIKELIHOODS.get(chosen)
    if found and spec.num_classes and not issubclass(found, likelihoods.Categorical):
        raise UserError(
            f"config.model.modalities.{spec.name}: likelihood {chosen!r} is of numbers, but "
            f"{spec.name!r} has {spec.num_classes:,} classes; 'categorical' is of classes"
        )


def _spec_from_config(
    model: Mapping[str, Any], spec: ModalitySpec, own: Mapping[str, Any]
) -> ModalitySpec:
    network = "text" if spec.is_tokens else "mlp"
    general = {"private_dim": model["private_dim"], "network": network}
    if spec.is_grid:
        of_images = ("likelihood_scale", "learn_likelihood_scale", "network")
        general |= {key: model[key] for key in of_images}
        general["likelihood"] = model["likelihood"] or spec.likelihood
    kept = ("likelihood", "likelihood_scale", "learn_likelihood_scale", "weight")
    general = {key: getattr(spec, key) for key in kept} | general
    chosen = {key: own.get(key, value) for key, value in general.items()}
    options = {
        **model["network_options"].get(chosen["network"], {}),
        **own.get("network_options", {}),
    }
    return dataclasses.replace(
        spec,
        **chosen,
        network_options=tuple(sorted((key, _frozen(value)) for key, value in options.items())),
    )


def model_rules(name: str) -> dict[str, Rule]:
    """Every key of the sections ``model`` and ``objective`` of that model's configs."""
    return {**COMMON_RULES, **MODELS[name].RULES}


def build(config: Mapping[str, Any], specs: tuple[ModalitySpec, ...]) -> MultimodalVAE:
    """Builds the model that a validated config names, for final modality specs."""
    name = config["model"]["name"]
    if name not in MODELS:
        raise UserError(
            f"model.name: unknown model {name!r}; known: {', '.join(sorted(MODELS))}"
            f"{nearest(name, MODELS)}"
        )
    from_config: Callable[..., MultimodalVAE] = MODELS[name].from_config
    return from_config(config["model"], config["objective"], specs)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
