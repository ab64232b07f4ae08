"""Posteriors that are known beforehand: the data are their means."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from mmvae_jax.data import Dataset, Split
from mmvae_jax.evaluation import Context, Settings
from mmvae_jax.models.latents import LatentSpace, Posterior
from mmvae_jax.types import ModalitySpec

NAMES = ("a", "b", "c")
SHARED, OWN = 3, 2  # numbers of a row that are the shared and the private mean
SCALE = 0.5
SPACE = LatentSpace(SHARED)


@dataclasses.dataclass(frozen=True)
class Placed:
    """Each modality [SHARED + OWN] holds its posterior means; only "a" has a private code.

    Attributes:
      shared: the shared space; its parameters are made of the first columns.
      pooled: whether one posterior stands for several modalities, their mean, or a mixture.
      has_prior: whether it has likelihoods.
    """

    specs: tuple[ModalitySpec, ...]
    shared: LatentSpace = SPACE
    pooled: bool = False
    has_prior: bool = True

    def private_space(self, spec):
        return LatentSpace(spec.private_dim)

    def shared_prior(self, variables, batch_shape=()):
        return self.shared.prior(batch_shape)

    def parameters(self, loc):
        """Of the shared space from means [..., SHARED]."""
        return {"loc": loc, "scale": jnp.full_like(loc, SCALE)}

    def encode(self, variables, batch, given=None):
        names = [spec.name for spec in self.specs]
        x = jnp.stack([batch["x"][name] for name in names])
        alive = jnp.stack(
            [batch["present"][name] & (given is None or name in given) for name in names]
        )
        shared = self.parameters(x[..., :SHARED])
        if self.pooled:
            share = alive.astype(jnp.float32)
            share = share / jnp.maximum(share.sum(0, keepdims=True), 1.0)
            shared = {key: (share[..., None] * p).sum(0)[None] for key, p in shared.items()}
            alive = alive.any(0)[None]
        own = {"loc": x[0, :, SHARED:], "scale": jnp.full_like(x[0, :, SHARED:], SCALE)}
        return Posterior(shared, alive, {"a": own} if self.specs[0].private_dim else {})

    def sample_posterior(self, variables, rng, batch, given, num_samples):
        found = self.encode(variables, batch, given)
        alive = found.strata[..., None].astype(jnp.float32)
        shared = (alive * found.shared["loc"]).sum(0)
        shared = shared + 0.01 * self.shared.sample(self.shared.prior(shared.shape[:1]), rng)
        return shared[None], {name: own["loc"][None] for name, own in found.private.items()}

    def log_weights(self, variables, rng, batch, given, of, num_samples):
        if not self.has_prior:
            raise NotImplementedError("it has no p(z)")
        return jnp.zeros((num_samples, batch["weight"].shape[0]))


def specs(names=NAMES, *, private=True):
    return tuple(
        ModalitySpec(
            name=name,
            shape=(SHARED + OWN,),
            dtype="float32",
            likelihood="normal",
            private_dim=OWN if private and name == "a" else 0,
        )
        for name in names
    )


def split(generator, count, names=NAMES, *, noise=0.5):
    """Rows of three classes; views of one row are near each other. Some have no class."""
    label = generator.integers(-1, 3, count).astype(np.int32)
    item = generator.normal(size=(count, SHARED + OWN)) + 2 * np.eye(SHARED + OWN)[label]
    x = {
        name: (item + noise * generator.normal(size=item.shape)).astype(np.float32)
        for name in names
    }
    return Split.complete(x, label)


def context(generator, *, count=40, names=NAMES, labels=True, settings=None, **model):
    """A context of a `Placed` model, with other rows to learn from than to measure on."""
    splits = {"train": split(generator, 300, names), "validation": split(generator, 4, names)}
    splits["test"] = split(generator, count, names)
    if not labels:
        splits = {name: dataclasses.replace(rows, label=None) for name, rows in splits.items()}
    return Context(
        model=Placed(specs(names), **model),
        variables={},
        dataset=Dataset("placed", specs(names), splits, 3 if labels else 0),
        settings=Settings(batch_size=16, **(settings or {})),
        workdir=None,
        step=0,
    )
