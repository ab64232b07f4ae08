"""Linear probes of codes given several modalities: some of them, and everything that is present.

What a model adds up from several views shows where the shared code given two tells the class more
often than given either (``probe/shared/<name>``). A modality that is the label itself is never
given. The probes are those of `probes`.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.context import Context, stream
from mmvae_jax.evaluation.probes import codes_given, predicted_right, said, training_rows
from mmvae_jax.evaluation.result import NotApplicable, Result, mean, mean_of_cells
from mmvae_jax.types import Array, Batch, Variables

_ALL_SUBSETS_OF = 6  # modalities; that is 56 probes, twice as many with every further one

Subsets = tuple[tuple[str, ...], ...]


def joint_probes(context: Context) -> dict[str, Result]:
    """``probe/joint/shared`` and ``probe/joint/all``: given everything that is present of a row.

    The shared code alone, and beside it the private codes of all modalities: of an absent one a
    sample of its prior, or the mean 0. A row counts where anything is present.
    """
    names, train = _asked(context)
    if not names:
        raise NotApplicable("every modality is the class itself")
    sides = []
    for split, which in ((train, "train"), (context.rows, context.settings.split)):
        shared, private = _codes_of(context, split, (names,), f"probe/joint/{which}")
        rows = (np.asarray(split.label) >= 0) & _present(split, names).any(0)
        kinds = {"shared": shared[0][rows]}
        if private:
            kinds["all"] = np.concatenate([shared[0], *private.values()], -1)[rows]
        sides.append((kinds, np.asarray(split.label)[rows]))
    (learn, label), (judge, truth) = sides
    if "all" not in learn:
        context.skipped["probe/joint/all"] = "no modality has a private code"
    return {
        f"probe/joint/{kind}": mean(
            predicted_right(inputs, label, judge[kind], truth), said(context, len(label))
        )
        for kind, inputs in learn.items()
    }


def subset_probes(context: Context) -> dict[str, Result]:
    """``probe/given/<name>+<name>...`` of shared codes, and ``probe/given/<k>``: means given k.

    For every subset of two modalities to all but one, of `subsets`. A row counts for a subset
    where all of it is present; the standard errors of means are over rows.
    """
    names, train = _asked(context)
    if len(names) < 3:
        raise NotApplicable(
            f"it has {len(names)} modalities beside the class: given one is probe/shared, given "
            "all is probe/joint"
        )
    chosen = subsets(names)
    learn, _ = _codes_of(context, train, chosen, "probe/given/train")
    judge, _ = _codes_of(context, context.rows, chosen, f"probe/given/{context.settings.split}")
    label, truth = (np.asarray(split.label) for split in (train, context.rows))
    right, counted = np.zeros((2, len(chosen), len(truth)))
    results: dict[str, Result] = {}
    for place, given in enumerate(chosen):
        known, asked = (
            (np.asarray(split.label) >= 0) & _present(split, given).all(0)
            for split in (train, context.rows)
        )
        name = f"probe/given/{'+'.join(given)}"
        try:
            found = predicted_right(
                learn[place][known], label[known], judge[place][asked], truth[asked]
            )
        except NotApplicable as reason:
            context.skipped[name] = str(reason)
            continue
        results[name] = mean(found, said(context, int(known.sum())))
        right[place, asked], counted[place, asked] = found, 1.0
    for size in range(2, len(names)):
        cells = np.array([len(given) == size for given in chosen])
        how = f"mean over {int(cells.sum())} subsets of {size} given; {said(context, len(train))}"
        try:
            results[f"probe/given/{size}"] = mean_of_cells(right[cells], counted[cells], how)
        except NotApplicable as reason:
            context.skipped[f"probe/given/{size}"] = str(reason)
    return results


def subsets(names: tuple[str, ...]) -> Subsets:
    """All of two to all but one; of more than 6 modalities the first 2, the first 3 and so on."""
    sizes = range(2, len(names))
    if len(names) > _ALL_SUBSETS_OF:
        return tuple(names[:size] for size in sizes)
    return tuple(given for size in sizes for given in itertools.combinations(names, size))


def _asked(context: Context) -> tuple[tuple[str, ...], Any]:
    """The modalities that are given, and the training rows."""
    context.require_labels()
    names = tuple(name for name in context.names if name not in context.labels)
    return names, training_rows(context.dataset.splits["train"], context.settings)


def _present(split: Any, names: tuple[str, ...]) -> np.ndarray:
    """bool [names, N]."""
    return np.stack([np.asarray(split.present[name], bool) for name in names])


def _codes_of(
    context: Context, split: Any, chosen: Subsets, purpose: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Of every row: shared codes [subsets, N, D], the last subset's private ones {name: [N, W]}."""
    asked = (context.model, context.settings.probe_codes, chosen, context.variables)
    seed = context.seed_for(purpose)
    parts = [
        jax.device_get(_codes(*asked, seed, np.uint32(index), batch))
        for index, batch in enumerate(context.batches(split))
    ]
    shared = np.concatenate([part for part, _ in parts], 1)[:, : len(split)]
    private = {
        name: np.concatenate([part[name] for _, part in parts])[: len(split)]
        for name in parts[0][1]
    }
    return shared, private


@compiling.jit(static_argnums=(0, 1, 2))
def _codes(
    model: Any,
    codes: str,
    chosen: Subsets,
    variables: Variables,
    seed: Array,
    index: Array,
    batch: Batch,
) -> tuple[Array, dict[str, Array]]:
    """What `_codes_of` gives, of one batch: all subsets are one program, which encodes it once."""
    key = stream(seed, index)
    found = [
        codes_given(model, codes, variables, jax.random.fold_in(key, place), batch, given)
        for place, given in enumerate(chosen)
    ]
    return jnp.stack([shared for shared, _ in found]), found[-1][1]
