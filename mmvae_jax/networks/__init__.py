"""Encoders and decoders: one file per family, Flax Linen modules, chosen by a ModalitySpec.

An encoder maps examples [N, *shape] to raw posterior parameters [N, outputs]; a decoder maps codes
[N, L] to raw likelihood parameters [N, *output_shape]. What the numbers mean is decided by the
latent space and the likelihood, not here.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmvae_jax.networks import conv, mlp, recurrent, resnet, text
from mmvae_jax.types import ModalitySpec, UserError

# Each module offers Encoder, Decoder and OPTIONS, the sizes that a config may set.
FAMILIES: dict[str, ModuleType] = {
    "mlp": mlp,
    "conv": conv,
    "resnet": resnet,
    "text": text,
    "recurrent": recurrent,
}
_OF_TEXTS = ("text", "recurrent")


def build_encoder(spec: ModalitySpec, outputs: int, dtype: Any = jnp.float32) -> nn.Module:
    """The encoder of ``spec`` with ``outputs`` raw numbers per example."""
    check_fits(spec)
    return FAMILIES[spec.network].Encoder(
        outputs=outputs, dtype=dtype, **dict(spec.network_options)
    )


def build_decoder(
    spec: ModalitySpec, output_shape: tuple[int, ...], dtype: Any = jnp.float32
) -> nn.Module:
    """The decoder of ``spec`` giving raw likelihood parameters [N, *output_shape]."""
    check_fits(spec)
    return FAMILIES[spec.network].Decoder(
        output_shape=output_shape, dtype=dtype, **dict(spec.network_options)
    )


def check_fits(spec: ModalitySpec) -> None:
    """Raises UserError where the family cannot treat the modality's shape or has no such option."""
    if spec.network not in FAMILIES:
        raise UserError(
            f"model.network: unknown family {spec.network!r}; known: {', '.join(sorted(FAMILIES))}"
        )
    options = dict(spec.network_options)
    unknown = sorted(set(options) - set(FAMILIES[spec.network].OPTIONS))
    if unknown:
        raise UserError(
            f"model.network_options: {spec.network!r} has no option {unknown[0]!r}; "
            f"it has {', '.join(FAMILIES[spec.network].OPTIONS)}"
        )
    if spec.network in _OF_TEXTS and not spec.is_tokens:
        raise UserError(
            f"modality {spec.name!r} of shape {spec.shape}: network {spec.network!r} needs texts, "
            "tokens [length] of a vocabulary; use network 'mlp'"
        )
    if spec.network in ("mlp", *_OF_TEXTS):
        return
    if len(spec.shape) != 3:
        raise UserError(
            f"modality {spec.name!r} of shape {spec.shape}: network {spec.network!r} needs images "
            "[height, width, channels]; use network 'mlp'"
        )
    if spec.network == "conv" and min(spec.shape[:2]) < 8:
        raise UserError(
            f"modality {spec.name!r} of shape {spec.shape}: network 'conv' needs at least 8x8 "
            "pixels; use network 'mlp'"
        )
    factor = 2 ** options.get("stages", resnet.OPTIONS["stages"])
    if spec.network == "resnet" and (spec.shape[0] % factor or spec.shape[1] % factor):
        raise UserError(
            f"modality {spec.name!r} of shape {spec.shape}: network 'resnet' needs height and "
            f"width divisible by {factor}; use network 'conv'"
        )
