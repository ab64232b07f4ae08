"""A dataset of noisy prototypes, and a model whose every metric is known beforehand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.data import Dataset, Split
from mmvae_jax.evaluation.classifiers import Classifier
from mmvae_jax.evaluation.judge_networks import ImageNet
from mmvae_jax.models.latents import LatentSpace, Posterior
from mmvae_jax.types import ModalitySpec

CLASSES = 4
# Two images and a vector. Also: "t" are tokens, "c" counts, "l" is the class label, and "s" is of
# a kind that has no judge.
NAMES = ("a", "b", "v")


def specs(names: tuple[str, ...] = NAMES) -> tuple[ModalitySpec, ...]:
    known = {
        "a": ModalitySpec(name="a", shape=(8, 8, 3), private_dim=2),
        "b": ModalitySpec(name="b", shape=(9, 8, 1), private_dim=2),
        "v": ModalitySpec(name="v", shape=(5,), dtype="float32", likelihood="normal"),
        "t": ModalitySpec(name="t", shape=(3,), dtype="int32", num_classes=7),
        "c": ModalitySpec(name="c", shape=(6,), dtype="int32", likelihood="poisson"),
        "s": ModalitySpec(name="s", shape=(4, 4, 1)),
        "l": ModalitySpec(
            name="l", shape=(), dtype="int32", likelihood="categorical", num_classes=CLASSES
        ),
    }
    return tuple(known[name] for name in names)


def prototypes(names: tuple[str, ...] = NAMES) -> dict[str, np.ndarray]:
    """One item per class and modality, float32, images in [0, 1]."""
    generator = np.random.default_rng(5)
    found = {}
    for spec in specs(names):
        shape = (CLASSES, *spec.shape)
        if spec.name == "l":
            found[spec.name] = np.arange(CLASSES, dtype=np.int32)
        elif spec.dtype == "uint8":
            found[spec.name] = generator.integers(0, 2, shape).astype(np.float32) * 0.8 + 0.1
        elif spec.dtype == "int32":
            most = 7 if spec.is_tokens else 100
            found[spec.name] = generator.integers(0, most, shape).astype(np.int32)
        else:
            found[spec.name] = 3 * generator.normal(size=shape).astype(np.float32)
    return found


def split(count: int, seed: int, names: tuple[str, ...] = NAMES) -> Split:
    generator = np.random.default_rng(seed)
    label = (np.arange(count) % CLASSES).astype(np.int32)
    x = {}
    for name, items in prototypes(names).items():
        if items.dtype == np.int32:
            x[name] = items[label]
            continue
        noisy = items[label] + 0.05 * generator.normal(size=(count, *items.shape[1:]))
        image = items.ndim == 4
        x[name] = (
            (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)
            if image
            else noisy.astype(np.float32)
        )
    return Split.complete(x, label)


def dataset(names: tuple[str, ...] = NAMES, *, test: int = 50, labels: bool = True) -> Dataset:
    splits = {
        "train": split(400, 0, names),
        "validation": split(30, 1, names),
        "test": split(test, 2, names),
    }
    if not labels:
        splits = {name: dataclasses.replace(part, label=None) for name, part in splits.items()}
    return Dataset("fake", specs(names), splits, CLASSES if labels else 0)


def variables(names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return {"params": {name: jnp.asarray(items) for name, items in prototypes(names).items()}}


@dataclasses.dataclass(frozen=True)
class FakeModel:
    """Knows the class of what it is given and shows the prototypes of that class.

    Attributes:
      specs: its modalities.
      wrong: pairs (given, target) for which the next class is shown.
      agree: whether prior samples show one class in every modality.
      informative_private: whether private codes hold the class.
      noise: standard deviation between conditional draws of an image.
    """

    specs: tuple[ModalitySpec, ...]
    wrong: tuple[tuple[str, str], ...] = ()
    agree: bool = True
    informative_private: bool = False
    noise: float = 0.0

    @property
    def names(self):
        return tuple(spec.name for spec in self.specs)

    @property
    def shared(self):
        return LatentSpace(CLASSES)

    def private_space(self, spec):
        return LatentSpace(CLASSES)

    def _class_of(self, params, batch, name):
        x = batch["x"][name].astype(jnp.float32)
        items = params["params"][name].astype(jnp.float32)
        axes = tuple(range(2, x.ndim + 1))
        return jnp.argmin(((x[:, None] - items[None]) ** 2).sum(axes), 1)

    def _show(self, params, name, classes):
        """The items of these classes; of the label and of tokens, probabilities."""
        if name == "l":
            return 0.1 + 0.6 * jax.nn.one_hot(classes % CLASSES, CLASSES)
        items = params["params"][name][classes % CLASSES]
        return 0.05 + 0.5 * jax.nn.one_hot(items, 7) if name == "t" else items.astype(jnp.float32)

    def conditional(
        self, params, rng, batch, given, num_samples, private="prior", private_scale=1.0
    ):
        found = self._class_of(params, batch, given[0])
        shown = {
            name: self._show(params, name, found + int((given[0], name) in self.wrong))
            for name in self.names
        }
        drawn = {
            name: jnp.broadcast_to(x[None], (num_samples, *x.shape)) for name, x in shown.items()
        }
        for index, spec in enumerate(self.specs):
            if self.noise and spec.is_image:
                key = jax.random.fold_in(rng, index)
                drawn[spec.name] += self.noise * jax.random.normal(key, drawn[spec.name].shape)
        return drawn

    def generate(self, params, rng, n, private_scale=1.0):
        first = jax.random.randint(rng, (n,), 0, CLASSES)
        return {
            name: self._show(params, name, first + (0 if self.agree else index))
            for index, name in enumerate(self.names)
        }

    def _codes(self, params, batch, given):
        one_hot = jax.nn.one_hot(self._class_of(params, batch, given[0]), CLASSES)
        private = {
            spec.name: one_hot[:, : spec.private_dim + 2]
            if self.informative_private
            else jnp.zeros((one_hot.shape[0], CLASSES))
            for spec in self.specs
            if spec.private_dim
        }
        return one_hot, private

    def encode(self, params, batch, given=None):
        """One stratum per modality, which tells its class; those of ``given`` that are there."""
        found = [self._class_of(params, batch, name) for name in self.names]
        loc = jax.nn.one_hot(jnp.stack(found), CLASSES)
        given = self.names if given is None else given
        alive = jnp.stack([batch["present"][name] & (name in given) for name in self.names])
        own = {
            name: {"loc": code, "scale": jnp.full_like(code, 0.1)}
            for name, code in self._codes(params, batch, self.names)[1].items()
        }
        return Posterior({"loc": loc, "scale": jnp.ones_like(loc)}, alive, own)

    def shared_prior(self, params, batch_shape=()):
        return self.shared.prior(batch_shape)

    def sample_posterior(self, params, rng, batch, given, num_samples):
        shared, private = self._codes(params, batch, given)
        noise = 0.1 * jax.random.normal(rng, (num_samples, *shared.shape))
        return shared[None] + noise, {
            name: code[None] + 0.1 * jax.random.normal(rng, (num_samples, *code.shape))
            for name, code in private.items()
        }

    def embed(self, params, batch, given=None):
        shared, private = self._codes(params, batch, given or self.names)
        return {"shared": shared} | {f"private/{name}": code for name, code in private.items()}

    def decode_one(self, params, spec, shared, private):
        return {"loc": self._show(params, spec.name, jnp.argmax(shared, -1))}

    def decode(self, params, shared, private):
        return {spec.name: self.decode_one(params, spec, shared, None) for spec in self.specs}

    def mean(self, parameters):
        return {name: values["loc"] for name, values in parameters.items()}

    def log_weights(self, params, rng, batch, given, of, num_samples):
        """-1, ..., -K in every row where something is present: the bound is known."""
        values = -jnp.arange(1.0, num_samples + 1)[:, None]
        return jnp.broadcast_to(values, (num_samples, batch["weight"].shape[0]))

    def marginal_and_conditional_log_weights(self, params, rng, batch, of, given, num_samples):
        """The same; the conditional ones twice that where anything is given."""
        twice = 1.0 + given.any().astype(jnp.float32)
        log_w = self.log_weights(params, rng, batch, None, None, num_samples)
        return log_w, twice * log_w


class NearestImage(ImageNet):
    """A judge that is always right: the class of the nearest prototype, of images."""

    @nn.compact
    def __call__(self, x, *, train=False, hidden=False):
        return nearest(self.variable("judge", "items", lambda: None).value, x)


class NearestVector(nn.Module):
    """The same of vectors."""

    @nn.compact
    def __call__(self, x, *, train=False, hidden=False):
        return nearest(self.variable("judge", "items", lambda: None).value, x)


def nearest(items, x):
    return -((x[:, None] - items[None]) ** 2).sum(tuple(range(2, x.ndim + 1)))


def perfect_judges(names: tuple[str, ...]) -> dict[str, Classifier]:
    """`Context.classifiers` without training."""
    networks = {"a": NearestImage(CLASSES), "b": NearestImage(CLASSES), "v": NearestVector()}
    return {
        name: Classifier(networks[name], {"judge": {"items": jnp.asarray(items)}})
        for name, items in prototypes(names).items()
        if name in networks
    }


def bound_of(num_samples: int) -> float:
    """log (1/K) sum_k exp(-k)."""
    return math.log(sum(math.exp(-k) for k in range(1, num_samples + 1)) / num_samples)
