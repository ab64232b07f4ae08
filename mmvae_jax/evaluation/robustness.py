"""How well does a model fill in what is missing, the fewer modalities it is given?

Each modality in turn is the target, and of a row's other modalities each is kept with probability
p, one of them at least. What is kept comes from streams of (seed, row, modality), as that of
``data.partial=independent`` does: what is given at one p is given at every larger one, so that a
curve over p compares the same rows. At p = 1 everything but the target is given.

Generation is that of the coherence: one sample of the shared code, private codes from the prior,
decoder means. Labels and attributes are decoded at the posterior mean, as in `classification`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.data import missingness
from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.classification import class_probabilities
from mmvae_jax.evaluation.classifiers import Classifier, classify
from mmvae_jax.evaluation.coherence import Networks, split_judges
from mmvae_jax.evaluation.context import Context, stream
from mmvae_jax.evaluation.decoding import decoder_mean
from mmvae_jax.evaluation.result import NotApplicable, Result, mean_of_cells
from mmvae_jax.evaluation.sampling import some_rows
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, Variables

KEPT = (0.1, 0.25, 0.5, 0.75, 1.0)  # p
COHERENCE, CLASSIFICATION = "robustness/coherence", "robustness/classification"
ATTRIBUTES, ERROR = "robustness/attributes", "robustness/error"


def missing_modalities(context: Context) -> dict[str, Result]:
    """Means over targets at each p of `KEPT`, ``<what>/<p>``; rows in which something is given.

    ``robustness/coherence``: a generated item that a classifier puts into the row's class;
    ``robustness/classification``: a label and ``robustness/attributes``: a boolean decoded right;
    ``robustness/error/<name>``: squared error per number, of images in [0, 1], of vectors and
    counts in the data's own units, where the row really has the target. Of two modalities there
    is nothing between: p = 1 alone.
    """
    names, split = context.names, context.settings.split
    if len(names) < 2:
        raise NotApplicable("the dataset has one modality only: nothing to be given instead")
    rows = some_rows(context.rows, context.settings.robustness_examples or len(context.rows))
    judges = _judges(context)
    results: dict[str, Result] = {}
    # Of two modalities the other one is given at every p.
    for kept in KEPT if len(names) > 2 else KEPT[-1:]:
        given = given_instead(rows, context.model.specs, kept, context.settings.seed)
        right, error = _measured(context, rows, judges, given)
        how = (
            f"each modality from the others, each of these kept with probability {kept:g} and one "
            f"at least; error over {split} rows"
        )
        accuracy = {COHERENCE: context.judges_accuracy(judges)}
        for what, (said, values, weight) in _families(
            context, rows, tuple(judges), given.any(1), right, error
        ).items():
            said = f"{said}; {how}{accuracy.get(what, '')}"
            try:
                results[f"{what}/{kept:g}"] = mean_of_cells(values, weight, said)
            except NotApplicable as reason:
                context.skipped[f"{what}/{kept:g}"] = str(reason)
    if not results:
        raise NotApplicable(f"no {split} row has a modality to judge and another one to be given")
    return dict(sorted(results.items(), key=lambda item: item[0].rpartition("/")[0]))


def given_instead(rows: Any, specs: tuple[ModalitySpec, ...], kept: float, seed: int) -> np.ndarray:
    """What is given where each modality is the target: bool [M targets, M, N].

    The target and what a row lacks never are; a row that has nothing else gives nothing.
    """
    options = missingness.Partial(partial="independent", observed=kept)
    found = []
    for target in specs:
        absent = np.zeros(len(rows), bool)
        others = dataclasses.replace(rows, present={**rows.present, target.name: absent})
        partial = missingness.make_partial(others, specs, options, seed)
        found.append([partial.present[spec.name] for spec in specs])
    return np.array(found)


def _judges(context: Context) -> Mapping[str, Classifier]:
    """The classifiers, or none with the reason listed."""
    try:
        found = context.classifiers
        reason = "no modality has a kind of data that a classifier is trained on"
    except NotApplicable as error:
        found, reason = {}, str(error)
    if not found:
        context.skipped[COHERENCE] = reason
    return found


def _families(
    context: Context,
    rows: Any,
    judged: tuple[str, ...],
    some: np.ndarray,
    right: np.ndarray,
    error: np.ndarray,
) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    """{name: (what it is, values [P, N], weights [P, N])} of the targets of each kind.

    some: whether anything is given; right, error: see `_judged`; all [M, N].
    """
    specs = context.model.specs
    there = np.stack([np.asarray(rows.present[spec.name], bool) for spec in specs])
    label = np.full(len(rows), -1) if rows.label is None else np.asarray(rows.label)
    kinds = {
        COHERENCE: ("share of generated items in the row's class", judged, label >= 0),
        CLASSIFICATION: ("share of labels decoded right", context.labels, label >= 0),
        ATTRIBUTES: ("share of attributes decoded right", _attributes(specs), there),
    }
    found = {}
    for what, (said, names, known) in kinds.items():
        places = [place for place, spec in enumerate(specs) if spec.name in names]
        if places:
            found[what] = said, right[places], (some & known)[places]
    for place, spec in enumerate(specs):
        if _is_measured(spec):
            weight = (some & there)[[place]]
            found[f"{ERROR}/{spec.name}"] = "squared error per number", error[[place]], weight
    return found


def _attributes(specs: tuple[ModalitySpec, ...]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs if spec.dtype == "bool" and not spec.is_grid)


def _is_measured(spec: ModalitySpec) -> bool:
    return not spec.num_classes and spec.dtype != "bool"


def _measured(
    context: Context, rows: Any, judges: Mapping[str, Classifier], given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`_judged` of all rows, float64 [M, N] each."""
    networks, weights = split_judges(judges)
    size = min(context.settings.batch_size, len(rows))
    seed = context.seed_for("robustness")
    parts = []
    for index, batch in enumerate(context.batches(rows, size)):
        known = given[..., index * size : (index + 1) * size]
        known = np.pad(known, ((0, 0), (0, 0), (0, size - known.shape[-1])))
        parts.append(
            _judged(
                context.model,
                networks,
                context.labels,
                context.variables,
                weights,
                seed,
                np.uint32(index),
                known,
                batch,
            )
        )
    right, error = (np.concatenate(field, -1) for field in zip(*parts, strict=True))
    return right[:, : len(rows)].astype(np.float64), error[:, : len(rows)].astype(np.float64)


@compiling.jit(static_argnums=(0, 1, 2))
def _judged(
    model: Any,
    networks: Networks,
    labels: tuple[str, ...],
    variables: Variables,
    weights: Mapping[str, Variables],
    seed: Array,
    index: Array,
    given: Array,
    batch: Batch,
) -> tuple[Array, Array]:
    """(share of the target that is right, squared error per number), float32 [M targets, B].

    0 where a target is not of the kind. given: bool [M targets, M, B].
    """
    key = stream(seed, index)
    names, judged = tuple(spec.name for spec in model.specs), dict(networks)
    nothing = jnp.zeros_like(batch["weight"])
    right, error = [], []
    for place, spec in enumerate(model.specs):
        present = dict(zip(names, given[place], strict=True))
        known = {**batch, "present": present}
        hit, apart = nothing, nothing
        if spec.name in labels:
            found = class_probabilities(model, spec, names, variables, known).argmax(-1)
            hit = (found.astype(jnp.int32) == batch["label"]).astype(jnp.float32)
        elif spec.name in _attributes(model.specs):
            found = class_probabilities(model, spec, names, variables, known) > 0.5
            same = found == (batch["x"][spec.name] > 0.5)
            hit = same.reshape(same.shape[0], -1).astype(jnp.float32).mean(-1)
        elif spec.name in judged or _is_measured(spec):
            shown = _generated(model, variables, jax.random.fold_in(key, place), known, spec)
            if spec.name in judged:
                found = classify(judged[spec.name], weights[spec.name], shown)
                hit = (found == batch["label"]).astype(jnp.float32)
            if _is_measured(spec):
                difference = (batch["x"][spec.name].astype(jnp.float32) - shown) ** 2
                apart = difference.reshape(difference.shape[0], -1).mean(-1)
        right.append(hit)
        error.append(apart)
    return jnp.stack(right), jnp.stack(error)


def _generated(
    model: Any, variables: Variables, rng: PRNGKey, batch: Batch, spec: ModalitySpec
) -> Array:
    """Decoder means [B, *shape] of one modality given what is present, private code from p(w)."""
    names = tuple(s.name for s in model.specs)
    draw, style = jax.random.split(rng)
    shared, _ = model.sample_posterior(variables, draw, batch, names, 1)
    private = None
    if spec.private_dim:
        space = model.private_space(spec)
        private = space.sample(space.prior(shared.shape[:2]), style)
    return decoder_mean(model, variables, spec, shared, private)[0]
