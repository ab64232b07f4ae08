"""What a metric is given: the model, its variables, the data, the settings, the classifiers."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmvae_jax import data, models
from mmvae_jax.evaluation import classifiers, inception_weights, judge_networks
from mmvae_jax.evaluation.cache import Cache
from mmvae_jax.evaluation.inception import Inception
from mmvae_jax.evaluation.result import NotApplicable
from mmvae_jax.evaluation.sampling import some_rows
from mmvae_jax.training import runtime
from mmvae_jax.types import Batch, Variables


@dataclasses.dataclass(frozen=True)
class Settings:
    """``config.evaluation`` as plain values.

    Attributes:
      batch_size: rows in one step of a pass over the data.
      seed: of every random draw, and of the classifiers.
      split: ``test``, or ``validation``: what every metric is measured on. Choices between
        models are made on ``validation``, so that none is made on the test rows.
      metrics: names of the registry, separated by commas; empty means all but those that the
        registry leaves out unless they are asked for, ``all`` means these too.
      num_examples: rows of it that are used; 0 means all. Where not all rows are used, here and
        below, they are a fair choice, see `sampling`.
      bound_samples: K of ``bound/test`` and ``bound/validation``.
      likelihood_samples: S of ``log_likelihood/...``; 1000 and more for numbers to report.
      likelihood_examples: rows that it is measured on; 0 means all.
      likelihood_sets: of which modalities, given which: see `likelihood_sets`; empty means the
        joint, every marginal, and every modality given all the others.
      coherence_subsets: rows that ``coherence/given/...`` is measured on; 0 means all.
      robustness_examples: rows that ``robustness/...`` is measured on; 0 means all.
      quality_examples: rows that distances between features, and the sureness of judges, are
        measured on; 0 means all.
      inception: file with the weights of Inception-v3, for FID and KID; empty means none.
      word_vectors: text file with vectors of the captions' words, for ``cca/...``; empty means
        that they are learnt from the training captions.
      sentence_vectors: ``weighted`` (MMVAE) or ``mean`` (MEME): how ``cca/...`` puts them together.
      probe_train: training rows that linear probes and Gaussian processes learn from; 0: all.
      probe_codes: ``samples`` or ``means`` of posteriors: what linear probes (``probe``,
        ``probe/joint``, ``probe/given``) see.
      classifier_epochs: passes over the training items when a classifier is trained; 0 means
        chosen from their number.
      cache_dir: folder for trained classifiers; empty means ``judges`` in the user's cache, which
        all runs share, or ``cache`` in the workdir where that cannot be written.
    """

    batch_size: int = 256
    seed: int = 0
    split: str = "test"
    metrics: str = ""
    num_examples: int = 0
    bound_samples: int = 32
    likelihood_samples: int = 32
    likelihood_examples: int = 100
    likelihood_sets: str = ""
    coherence_subsets: int = 500
    robustness_examples: int = 500
    quality_examples: int = 500
    inception: str = ""
    word_vectors: str = ""
    sentence_vectors: str = "weighted"
    probe_train: int = 5000
    probe_codes: str = "samples"
    classifier_epochs: int = 0
    cache_dir: str = ""

    @classmethod
    def from_config(cls, config: Any) -> Settings:
        """Takes the fields above from a mapping; what it lacks keeps the default."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: config[name] for name in names if name in config})


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """One evaluation. ``skipped`` collects {name: reason} of the numbers that cannot be had."""

    model: Any
    variables: Variables
    dataset: Any
    settings: Settings
    workdir: Path
    step: int
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in the order of their specs."""
        return tuple(spec.name for spec in self.dataset.specs)

    @functools.cached_property
    def rows(self) -> Any:
        """What is measured on: the split of ``settings.split``, or ``num_examples`` of it."""
        split = self.dataset.splits[self.settings.split]
        if not len(split):
            raise NotApplicable(f"the dataset has no {self.settings.split} rows")
        return some_rows(split, self.settings.num_examples or len(split))

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """The modalities that are the class label itself."""
        split, count = self.dataset.splits[self.settings.split], self.dataset.num_classes
        return tuple(
            spec.name for spec in self.dataset.specs if classifiers.is_label(spec, split, count)
        )

    @property
    def judges(self) -> dict[str, classifiers.Classifier]:
        """Who tells the class of what is generated: classifiers, and label modalities themselves.

        In the order of the specs; raises `NotApplicable` where there is none.
        """
        itself = classifiers.Classifier(judge_networks.Itself(), {})
        known = {**self.classifiers, **dict.fromkeys(self.labels, itself)}
        if not known:
            raise NotApplicable("no modality has a kind of data that can be classified")
        return {name: known[name] for name in self.names if name in known}

    @functools.cached_property
    def judging(self) -> dict[str, Any]:
        """Where classifiers are kept and how they are trained: see `classifiers.obtain`."""
        own = self.settings.cache_dir
        shared = (runtime.user_cache() / "judges", self.workdir / "cache")
        return {
            "cache": Cache(*((Path(own).expanduser(),) if own else shared)),
            "epochs": self.settings.classifier_epochs,
            "seed": self.settings.seed,
        }

    @functools.cached_property
    def classifiers(self) -> dict[str, classifiers.Classifier]:
        """A trained classifier for each modality that can have one; trained on first use."""
        self.require_labels()
        found = {}
        for spec in self.dataset.specs:
            if spec.name in self.labels:
                self.skipped[f"classifier/accuracy/{spec.name}"] = (
                    "it is the class itself and judges itself: no classifier is trained"
                )
                continue
            try:
                found[spec.name] = classifiers.obtain(self.dataset, spec, **self.judging)
            except NotApplicable as reason:
                self.skipped[f"classifier/accuracy/{spec.name}"] = str(reason)
        return found

    @functools.cached_property
    def judged_right(self) -> dict[str, np.ndarray]:
        """{name: which real items its classifier puts into their class}, bool [n].

        Of the labelled rows that have the modality; a classifier without any is left out.
        """
        found = {}
        for name, classifier in self.classifiers.items():
            rows = classifiers.labelled_rows(self.rows, name)
            if len(rows):
                size = min(self.settings.batch_size, len(rows))
                classes = classifiers.classify_rows(classifier, self.rows, name, rows, size)
                found[name] = classes == self.rows.label[rows]
        return found

    def judges_accuracy(self, names: Iterable[str]) -> str:
        """The end of `how` where classifiers judge: their accuracy on real items, their mean.

        Empty where none of the names has a classifier, as a label modality that judges itself.
        """
        found = [self.judged_right[name].mean() for name in names if name in self.judged_right]
        return f"; judges' accuracy {np.mean(found):.3f}" if found else ""

    @functools.cached_property
    def inception(self) -> Inception:
        """Inception-v3 with the weights of ``settings.inception``, read on first use."""
        return inception_weights.read(self.settings.inception)

    def require_labels(self) -> None:
        """Raises `NotApplicable` where no row is of a class that training rows could teach."""
        needed = ("train", self.settings.split)
        labels = [self.dataset.splits[name].label for name in needed]
        if not self.dataset.num_classes or any(label is None for label in labels):
            raise NotApplicable(f"the dataset {self.dataset.name!r} has no labels")
        known, sought = (np.unique(np.asarray(label)) for label in labels)
        if sought.max(initial=-1) >= 0 and not np.isin(sought[sought >= 0], known).any():
            raise NotApplicable(f"no {needed[1]} row is of a class that training rows have")

    def seed_for(self, purpose: str) -> np.ndarray:
        """uint32 [2]: the seed and a number for the purpose; see `stream`."""
        return np.array([self.settings.seed, zlib.crc32(purpose.encode())], np.uint32)

    def batches(self, split: Any, batch_size: int | None = None) -> Iterator[Batch]:
        """Every row once, in float32 batches of one size; padding rows have weight 0."""
        size = min(batch_size or self.settings.batch_size, len(split))
        for batch in data.batches(split, size):
            yield models.prepare(batch)


def stream(seed: jax.Array, index: jax.Array) -> jax.Array:
    """The random key of batch ``index`` from `Context.seed_for`; made inside jit."""
    key = jax.random.fold_in(jax.random.key(seed[0]), seed[1])
    return jax.random.fold_in(key, index)


def labelled(batch: Batch) -> jax.Array:
    """float32 [B]: 1 for rows that count and have a class (a negative label means none)."""
    return batch["weight"] * (batch["label"] >= 0).astype(batch["weight"].dtype)
