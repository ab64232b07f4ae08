"""Do captions and what they describe go together? Correlation in a space fitted on real pairs.

As MMVAE (Shi et al. 2019) and MEME (Joy et al. 2022) measure it: canonical correlation analysis of
real training pairs gives both views a common space, and the score is the mean cosine there between
a real item and what was generated from it. The other view is the modality itself where it is a
vector, else what the last layer of its classifier sees. The papers' captions are in the words of
FastText; vectors learnt from the training captions alone stand for them here, so that numbers
compare within one data set and one choice of vectors, and not with published ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mmvae_jax.evaluation import classifiers, word_vectors
from mmvae_jax.evaluation.canonical_correlation import Projections, cca
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.decoding import from_prior, generated
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.evaluation.sampling import of_other_items, same_item, some
from mmvae_jax.types import ModalitySpec

_DIRECTIONS = 40  # k of MMVAE
_RIDGE = 1e-4  # of columns with variance 1; MMVAE has 1e-12 of columns as they are
_MOST_PAIRS = 20_000  # of training
_DRAWS = 1000  # from the prior, as in MMVAE

View = Callable[[np.ndarray], np.ndarray]  # stored items [N, *shape] to [N, P]


def caption_correlation(context: Context) -> dict[str, Result]:
    """Mean cosines for every caption and every other modality that has a view.

    ``cca/real/<other>+<caption>`` of real pairs, ``cca/unpaired/...`` of real ones and captions
    of other items, ``cca/cross/<of>|<given>`` of a real item and what is generated from it,
    ``cca/joint/...`` of draws from the prior; ``cca/correlations/...`` [k] are those of training.
    """
    words = context.dataset.vocabularies
    texts = [spec for spec in context.dataset.specs if spec.is_tokens and spec.name in words]
    if not texts:
        raise NotApplicable(f"the data set {context.dataset.name!r} has no captions")
    results: dict[str, Result] = {}
    drawn = from_prior(context, "cca", _DRAWS)
    for text in texts:
        sentences, said = _sentences(context, text)
        for other in context.dataset.specs:
            pair = f"{other.name}+{text.name}"
            if other.num_classes or other.dtype not in ("uint8", "float32"):
                continue
            try:
                space = _space(context, other, text, _view(context, other), sentences, said)
            except NotApplicable as reason:
                context.skipped[f"cca/real/{pair}"] = str(reason)
                continue
            results[f"cca/correlations/{pair}"] = Result(
                values=space.projections.correlations,
                n=space.pairs,
                how=f"of the training pairs; {space.how}",
            )
            results |= _of_real(context, space, pair)
            results |= _of_generated(context, space)
            cosines = space.cosines(drawn[other.name], drawn[text.name])
            how = f"{_DRAWS} draws from the prior; {space.how}; error over draws"
            results[f"cca/joint/{pair}"] = mean(cosines, how)
    if not results:
        raise NotApplicable("no modality beside the captions has a view: see cca/real/...")
    return results


@dataclasses.dataclass(frozen=True, eq=False)
class _Space:
    """Where a modality and a caption meet.

    Attributes:
      other: the modality.
      text: the caption.
      views: of both.
      projections: of both, fitted on training pairs.
      pairs: how many these were.
      how: all this in words.
    """

    other: ModalitySpec
    text: ModalitySpec
    views: tuple[View, View]
    projections: Projections
    pairs: int
    how: str

    def cosines(self, items: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Of stored items and texts, row by row: [N]."""
        return self.projections.cosines(self.views[0](items), self.views[1](tokens))


def _sentences(context: Context, text: ModalitySpec) -> tuple[View, str]:
    """The view of captions, and how it comes about."""
    settings, train = context.settings, context.dataset.splits["train"]
    tokens = np.asarray(train.x[text.name][np.flatnonzero(train.present[text.name])])
    if not len(tokens):
        raise NotApplicable(f"no training row has {text.name!r}")
    if settings.word_vectors:
        vocabulary = context.dataset.vocabularies[text.name]
        vectors, known = word_vectors.read(settings.word_vectors, vocabulary)
        said = f"vectors of {known} of {len(vocabulary)} words from {settings.word_vectors}"
    else:
        vectors = word_vectors.learn(text, tokens)
        said = (
            f"{vectors.shape[1]} directions of the mutual information of near words in "
            f"{len(tokens)} training captions (not FastText: not comparable with published numbers)"
        )
    if settings.sentence_vectors == "mean":
        return word_vectors.mean_sentences(text, vectors), f"captions: plain mean of {said}"
    weighted = word_vectors.weighted_sentences(text, vectors, tokens)
    return weighted, f"captions: weighted mean, less the common direction, of {said}"


def _view(context: Context, other: ModalitySpec) -> View:
    """Items of a modality as vectors."""
    if len(other.shape) == 1:
        return lambda items: np.asarray(items, np.float64)
    known = context.dataset.captions
    if known is not None and known.image == other.name:
        judge = classifiers.obtain_attributes(context.dataset, other, **context.judging)
    elif other.name in context.classifiers:
        judge = context.classifiers[other.name]
    else:
        raise NotApplicable(f"{other.name!r} has no classifier whose features could be its view")
    size = context.settings.batch_size

    def features(items: np.ndarray) -> np.ndarray:
        return classifiers.of_stored(classifiers.features, judge, items, size).astype(np.float64)

    return features


def _space(
    context: Context,
    other: ModalitySpec,
    text: ModalitySpec,
    view: View,
    sentences: View,
    said: str,
) -> _Space:
    """Fits it on the training pairs, or on so many of them, chosen at random."""
    train = context.dataset.splits["train"]
    rows = np.flatnonzero(train.present[other.name] & train.present[text.name])
    rows = some(rows, _MOST_PAIRS, train.item)
    if len(rows) < 2:
        raise NotApplicable(f"fewer than 2 training rows have {other.name!r} and {text.name!r}")
    x, y = view(train.x[other.name][rows]), sentences(train.x[text.name][rows])
    scales = _scale(x), _scale(y)
    for spec, scale in ((other, scales[0]), (text, scales[1])):
        if np.isinf(scale).all():
            raise NotApplicable(f"what represents {spec.name!r} is the same for all training rows")
    projections = cca(x / scales[0], y / scales[1], _DIRECTIONS, _RIDGE)
    kind = "itself" if len(other.shape) == 1 else "the last hidden layer of its classifier"
    how = (
        f"cosine of {len(projections.correlations)} canonical directions of {len(rows)} training "
        f"pairs, ridge {_RIDGE:g}; {other.name}: {kind}; {said}"
    )
    views = (lambda items: view(items) / scales[0]), (lambda tokens: sentences(tokens) / scales[1])
    return _Space(other, text, views, projections, len(rows), how)


def _scale(x: np.ndarray) -> np.ndarray:
    """Standard deviation of each column; infinite where it is constant: it then says nothing."""
    scale = x.std(0)
    return np.where(scale > 1e-8, scale, np.inf)


def _of_real(context: Context, space: _Space, pair: str) -> dict[str, Result]:
    rows, split = context.rows, context.settings.split
    both = np.flatnonzero(rows.present[space.other.name] & rows.present[space.text.name])
    if len(both) < 2:
        context.skipped[f"cca/real/{pair}"] = f"fewer than 2 {split} rows have both"
        return {}
    items, tokens = rows.x[space.other.name][both], rows.x[space.text.name][both]
    how = f"{space.how}; error over {split} rows"
    results = {f"cca/real/{pair}": mean(space.cosines(items, tokens), f"real pairs; {how}")}
    if same_item(both, rows.item).all():
        context.skipped[f"cca/unpaired/{pair}"] = f"all {split} rows show one item"
        return results
    others = rows.x[space.text.name][of_other_items(both, rows.item)]
    said = "real items, each with a random caption of another one, for scale"
    results[f"cca/unpaired/{pair}"] = mean(space.cosines(items, others), f"{said}; {how}")
    return results


def _of_generated(context: Context, space: _Space) -> dict[str, Result]:
    rows, split = context.rows, context.settings.split
    results = {}
    for given, target in ((space.other, space.text), (space.text, space.other)):
        name = f"cca/cross/{target.name}|{given.name}"
        here = np.flatnonzero(rows.present[given.name])
        if not len(here):
            context.skipped[name] = f"no {split} row has {given.name!r}"
            continue
        real, made = (
            rows.x[given.name][here],
            generated(context, "cca", (given.name,), target.name)[here],
        )
        items, tokens = (real, made) if given is space.other else (made, real)
        how = f"a real item and what is generated from it; {space.how}; error over {split} rows"
        results[name] = mean(space.cosines(items, tokens), how)
    return results
