"""Classifiers of single modalities: the judges of coherence.

Each is trained on the real training items of its modality and judged on the real test items;
it always classifies in evaluation mode (no dropout). Trained weights are kept in a cache, under a
hash of the items and classes that they were trained on.
A modality that is the class label itself needs no such judge: what is generated of it are the
probabilities of the classes, and their argmax is compared with the row's class.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import operator
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.cache import Cache
from mmvae_jax.evaluation.judge_networks import (
    AttributeNet,
    CountNet,
    ImageNet,
    TextNet,
    VectorNet,
)
from mmvae_jax.evaluation.result import NotApplicable
from mmvae_jax.evaluation.sampling import some
from mmvae_jax.training.augmentation import shifted
from mmvae_jax.types import Array, ModalitySpec, Variables

_log = logging.getLogger(__name__)

# Part of the cache's key: raise it when the networks or their training change.
_RECIPE = 3
_BATCH = 128
_LEARNING_RATE = 2e-3
_WARM_UP = 0.1  # share of training
_ITEMS = 60_000
_MOST_EPOCHS = 100
_ADAM = optax.scale_by_adam()
_SMALLEST_IMAGE = 8
_MOST_BYTES = 2**30  # of training items, which lie on the device


_OF_IMAGES = (ImageNet, AttributeNet)


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network: ``network`` is static under jit, ``variables`` are its arrays."""

    network: nn.Module
    variables: Variables

    def __call__(self, x: Array) -> Array:
        """See `classify`."""
        return classify(self.network, self.variables, x)


def classify(network: nn.Module, variables: Variables, x: Array) -> Array:
    """Classes int32 [...] of items [..., *shape] in float32.

    Images are in [0, 1]; of labels and texts they are probabilities, [..., C] and [..., L, V].
    Of an `AttributeNet` they are the values of all attributes, [..., attributes].
    """
    flat, leading = _flat(network, x)
    found = jnp.argmax(network.apply(variables, flat), -1).astype(jnp.int32)
    return found.reshape(*leading, *found.shape[1:])


def classify_all(classifier: Classifier, x: np.ndarray, batch_size: int) -> np.ndarray:
    """Classes int32 [N, ...] of stored items [N, *shape], at least one, in batches of that size."""
    return of_stored(classify, classifier, x, batch_size)


def classify_rows(
    classifier: Classifier, split: Any, name: str, rows: np.ndarray, batch_size: int
) -> np.ndarray:
    """Classes int32 [n] of a modality in these rows, at least one, read batch by batch."""
    classes = functools.partial(_of_stored, classify, classifier.network, classifier.variables)
    return in_batches(lambda part: classes(split.x[name][part]), rows, batch_size)


def of_stored(
    answer: Callable[[nn.Module, Variables, Array], Array],
    classifier: Classifier,
    x: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """`classify` or `features` of stored items [N, *shape], at least one: [N, ...]."""
    ask = functools.partial(_of_stored, answer, classifier.network, classifier.variables)
    return in_batches(ask, x, batch_size)


def in_batches(function: Callable[[Any], Array], items: Any, batch_size: int) -> np.ndarray:
    """``function`` of rows, for any number of them: [N, ...].

    Batches have one size, so that it is compiled once: the last one is filled up by its last row.

    Args:
      function: of a batch, as `items` is one; gives an array [batch_size, ...].
      items: an array [N, ...], or a tree of such, of at least one row.
      batch_size: rows in a batch.
    """
    count = len(jax.tree.leaves(items)[0])
    found = []
    for start in range(0, count, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        # To the host one by one: many batches need not fit on the device.
        part = jax.tree.map(operator.itemgetter(rows), items)
        found.append(jax.device_get(function(part)))
    return np.concatenate(found)[:count]


@compiling.jit(static_argnums=(0, 1))
def _of_stored(
    answer: Callable[[nn.Module, Variables, Array], Array],
    network: nn.Module,
    variables: Variables,
    x: Array,
) -> Array:
    return answer(network, variables, shown(x, network))


def features(network: nn.Module, variables: Variables, x: Array) -> Array:
    """What the last layer sees of items [..., *shape]: [..., F]; not of label modalities."""
    flat, leading = _flat(network, x)
    return network.apply(variables, flat, hidden=True).reshape(*leading, -1)


def _flat(network: nn.Module, x: Array) -> tuple[Array, tuple[int, ...]]:
    """Items [N, *shape] of [..., *shape], and the leading axes."""
    rank = 3 if isinstance(network, _OF_IMAGES) else 2 if isinstance(network, TextNet) else 1
    return x.reshape(-1, *x.shape[x.ndim - rank :]), x.shape[: x.ndim - rank]


def is_label(spec: ModalitySpec, split: Any, num_classes: int) -> bool:
    """Whether a modality is the class itself: one index per row, everywhere the row's class.

    The values decide, since another attribute may have as many of them as there are classes.
    """
    if spec.shape or not num_classes or spec.num_classes != num_classes or split.label is None:
        return False
    x, label = items_of(split, spec.name, labelled_rows(split, spec.name))
    return np.array_equal(x, label)


def network_for(spec: ModalitySpec, num_classes: int) -> nn.Module:
    """The network for one modality; `NotApplicable` where its kind cannot be classified."""
    if len(spec.shape) == 3 and min(spec.shape[:2]) >= _SMALLEST_IMAGE:
        return ImageNet(num_classes)
    if spec.is_tokens:
        return TextNet(num_classes, spec.num_classes, spec.end_id, spec.pad_id)
    if len(spec.shape) == 1:
        return CountNet(num_classes) if spec.is_counts else VectorNet(num_classes)
    raise NotApplicable(
        f"no classifier for {spec.name!r} of shape {list(spec.shape)} and type {spec.dtype}: "
        f"only images from {_SMALLEST_IMAGE}x{_SMALLEST_IMAGE}, vectors, counts and texts have one"
    )


def obtain(dataset: Any, spec: ModalitySpec, *, cache: Cache, epochs: int, seed: int) -> Classifier:
    """The classifier of one modality: from the cache, or trained and then cached.

    A cached file of other items, recipe or shape, or a damaged one, is not used.
    """
    network = network_for(spec, dataset.num_classes)
    split = dataset.splits["train"]
    rows = _no_more_than(_MOST_BYTES, labelled_rows(split, spec.name), split, spec.name)
    x, label = items_of(split, spec.name, rows)
    return _obtain(network, spec.name, x, label, cache=cache, epochs=epochs, seed=seed)


def obtain_attributes(
    dataset: Any, spec: ModalitySpec, *, cache: Cache, epochs: int, seed: int
) -> Classifier:
    """The `AttributeNet` of the images that ``dataset.captions`` is of; see `obtain`."""
    network = AttributeNet(tuple(len(values) for values in dataset.captions.values))
    split = dataset.splits["train"]
    rows = np.flatnonzero(split.present[spec.name])
    rows = _no_more_than(_MOST_BYTES, rows, split, spec.name)
    x, label = split.x[spec.name][rows], split.attributes[rows]
    return _obtain(network, spec.name, x, label, cache=cache, epochs=epochs, seed=seed)


def _obtain(
    network: nn.Module,
    name: str,
    x: np.ndarray,
    label: np.ndarray,
    *,
    cache: Cache,
    epochs: int,
    seed: int,
) -> Classifier:
    """From the cache, or trained on these items and then cached."""
    if not len(x):
        raise NotApplicable(f"no training item of {name!r} has a label")
    key = f"recipe {_RECIPE}|items {_digest(x, label)}|epochs {epochs}|seed {seed}|{network}"
    expected = jax.eval_shape(functools.partial(_fresh, network, x.shape[1:]), np.uint32(seed))
    found = cache.find(f"classifier-{name}", key, expected)
    if found is not None:
        variables, path = found
        _log.info("classifier of %s loaded from %s", name, path)
        return Classifier(network, variables)
    start = time.monotonic()
    classifier = train(network, x, label, epochs=epochs, seed=seed)
    jax.block_until_ready(classifier.variables)
    seconds = time.monotonic() - start
    # Of several processes, each of which trains the same, one writes.
    first = jax.process_index() == 0
    path = cache.keep(f"classifier-{name}", key, classifier.variables) if first else None
    kept = f", kept in {path}" if path else ""
    _log.info("classifier of %s trained in %.1f s%s", name, seconds, kept)
    return classifier


def _digest(*arrays: np.ndarray) -> str:
    """Hash (32 hexadecimal digits) of shapes, types and every byte."""
    digest = hashlib.blake2b(digest_size=16)
    for values in arrays:
        digest.update(f"{values.dtype.str} {values.shape};".encode())
        digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def labelled_rows(split: Any, name: str) -> np.ndarray:
    """Numbers of the rows that have both this modality and a class."""
    return np.flatnonzero(np.asarray(split.present[name]) & (split.label >= 0))


def items_of(split: Any, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(items [n, ...] of a modality, classes int32 [n]) of these rows."""
    return split.x[name][rows], np.asarray(split.label[rows], np.int32)


def _no_more_than(most: int, rows: np.ndarray, split: Any, name: str) -> np.ndarray:
    """The rows, or as many of them, chosen at random, as take `most` bytes."""
    count = max(1, most // max(1, split.x[name].nbytes // max(1, len(split))))
    if len(rows) > count:
        _log.info("classifier of %s: %d of %d training items", name, count, len(rows))
    return some(rows, count, split.item)


def train(
    network: nn.Module, x: np.ndarray, label: np.ndarray, *, epochs: int, seed: int
) -> Classifier:
    """Trains by Adam under a cosine schedule; images are shifted by up to a sixteenth.

    Args:
      network: of `judge_networks`, but not `Itself`.
      x: [N, ...] as stored: uint8 (divided by 255 in each step), numbers, or tokens.
      label: int32 [N], or of an `AttributeNet` [N, attributes].
      epochs: passes over the items; 0 means as many as show it about 60,000 items, and at least 2.
      seed: of the initial weights, the order, the shifts and dropout.
    """
    batch = min(_BATCH, len(x))
    epochs = epochs or min(max(2, round(_ITEMS / len(x))), _MOST_EPOCHS)
    variables = _init(network, x.shape[1:], np.uint32(seed))
    if "standard" in variables:
        variables = {**variables, "standard": _standard(network, x)}
    constants = {name: value for name, value in variables.items() if name != "params"}
    state = (variables["params"], _ADAM.init(variables["params"]))
    x, label = jnp.asarray(x), jnp.asarray(label)
    for epoch in range(epochs):
        progress = np.float32([epoch / epochs, (epoch + 1) / epochs])
        state = _epoch(
            network, batch, state, constants, x, label, np.uint32([seed, epoch]), progress
        )
    return Classifier(network, {**constants, "params": state[0]})


def _fresh(network: nn.Module, shape: tuple[int, ...], seed: Array) -> Variables:
    return dict(network.init(jax.random.key(seed), shown(jnp.zeros((1, *shape)), network)))


_init = compiling.jit(static_argnums=(0, 1))(_fresh)


def _standard(network: nn.Module, x: np.ndarray) -> dict[str, Array]:
    unit = np.float32(255.0) if x.dtype == np.uint8 else np.float32(1.0)
    x = np.asarray(network.rescaled(np.asarray(x, np.float32) / unit))
    scale = x.std(0)
    return {
        "location": jnp.asarray(x.mean(0)),
        "scale": jnp.asarray(np.where(scale > 1e-6, scale, np.float32(1.0))),
    }


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _epoch(network, batch, state, constants, x, label, seed, progress):
    """One pass in a fresh order, scanned; an incomplete last batch is dropped.

    ``progress`` [2] is the share of training that is done before and after this pass; the
    learning rate rises at first and then falls along half a cosine: at full height from the
    first step on, some trainings end with a dead network.
    """
    key = jax.random.fold_in(jax.random.key(seed[0]), seed[1])
    count = x.shape[0] // batch
    order = jax.random.permutation(key, x.shape[0])[: count * batch].reshape(count, batch)
    done = progress[0] + (progress[1] - progress[0]) * jnp.arange(count, dtype=jnp.float32) / count
    rates = _LEARNING_RATE * jnp.minimum(done / _WARM_UP, 0.5 * (1 + jnp.cos(jnp.pi * done)))

    def step(state, inputs):
        index, rows, rate = inputs
        params, moments = state
        shift_key, dropout_key = jax.random.split(jax.random.fold_in(key, index))
        items, classes = x[rows], label[rows]
        if isinstance(network, _OF_IMAGES):
            reach = (-(-items.shape[1] // 16), -(-items.shape[2] // 16))
            items = shifted(shift_key, items, reach, mode="edge")
        items = shown(items, network)

        def loss(params):
            scores = network.apply(
                {**constants, "params": params}, items, train=True, rngs={"dropout": dropout_key}
            )
            return optax.softmax_cross_entropy_with_integer_labels(scores, classes).mean()

        gradient = jax.grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            updates, moments = _ADAM.update(gradient, moments, params)
        params = jax.tree.map(lambda value, update: value - rate * update, params, updates)
        return (params, moments), None

    return jax.lax.scan(step, state, (jnp.arange(count), order, rates))[0]


def shown(x: Array, network: nn.Module) -> Array:
    """Stored items [N, *shape] as generated ones look to a network: tokens become 0 and 1."""
    if isinstance(network, TextNet):
        return jax.nn.one_hot(x.astype(jnp.int32), network.vocabulary)
    return as_float(x)


def as_float(x: Array) -> Array:
    """Items in the units that models see: uint8 becomes float32 in [0, 1]."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255.0
    return x.astype(jnp.float32)
