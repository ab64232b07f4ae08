"""Which dimensions of the latent codes tell the class? Weights of a sparse linear classifier.

A linear support vector machine with an L1 penalty needs few dimensions: those that tell nothing
that others do not tell as well get weight 0. Each modality is encoded alone, its shared and its
private code side by side, on the posterior samples of the linear probes, each dimension
standardised. Where shared and private information are apart, the private dimensions weigh nothing.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.probes import draw_codes, training_rows
from mmvae_jax.evaluation.result import NotApplicable, Result, mean

# C, the weight of the loss against that of the penalty, is this over the root of the number of
# rows: of two classes alike a dimension of noise gets a weight at 3.3 standard errors only.
_STRENGTH = 0.15
_INTERCEPT = 10.0  # the penalty takes the intercept for a weight: this makes it cheap


def factor_importance(context: Context) -> dict[str, Result]:
    """``importance/weights/<name>`` [D + W], and what sums them up.

    Weights: of each dimension the sum over classes of its absolute weight, divided by the sum over
    dimensions; shared ones first, then private ones. ``importance/private/<name>``: the share of
    the private ones. ``importance/dimensions/<name>``: how many have any weight.
    ``importance/accuracy/<name>``: of the same machine.
    """
    context.require_labels()
    train = training_rows(context.dataset.splits["train"], context.settings)
    results: dict[str, Result] = {}
    for name in context.names:
        label = f"importance/{name}"
        if name in context.labels:
            context.skipped[label] = "it is the class itself"
            continue
        learn = draw_codes(context, train, name, "train")
        judge = draw_codes(context, context.rows, name, context.settings.split)
        try:
            results |= _importance(learn, judge, name, context)
        except NotApplicable as reason:
            context.skipped[label] = str(reason)
    return results


def _importance(
    learn: dict[str, np.ndarray], judge: dict[str, np.ndarray], name: str, context: Context
) -> dict[str, Result]:
    kinds = [kind for kind in ("shared", "private") if kind in learn]
    if len(np.unique(learn["label"])) < 2 or not len(judge["label"]):
        raise NotApplicable("too few labelled rows in which it is present")
    inputs, judged = (
        np.concatenate([codes[kind] for kind in kinds], 1) for codes in (learn, judge)
    )
    weights, right = sparse_machine(inputs, learn["label"], judged, judge["label"])
    if not weights.any():
        raise NotApplicable("no dimension tells enough of the class to get a weight")
    count = len(inputs)
    how = (
        f"linear SVM, L1 penalty, squared hinge loss, C = {strength(count):.3g}, on standardised "
        f"posterior samples of {count} training rows"
    )
    results = {
        f"importance/weights/{name}": Result(
            values=weights, n=count, how=f"share of the absolute weights, shared ones first; {how}"
        ),
        f"importance/dimensions/{name}": Result(
            value=float((weights > 0).sum()), n=count, how=f"of {len(weights)} have a weight; {how}"
        ),
    }
    if "private" in kinds:
        own = float(weights[learn["shared"].shape[1] :].sum())
        results[f"importance/private/{name}"] = Result(
            value=own, n=count, how=f"share of the private dimensions' absolute weights; {how}"
        )
    else:
        context.skipped[f"importance/private/{name}"] = "it has no private code"
    said = f"{how}; error over {context.settings.split} rows"
    results[f"importance/accuracy/{name}"] = mean(right, said)
    return results


def sparse_machine(
    inputs: np.ndarray, label: np.ndarray, judged: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the absolute weights of each dimension [D] (or 0), and whether it is right [N'].

    Args:
      inputs: to learn from [N, D].
      label: their classes [N], at least two.
      judged: to be told the class of [N', D].
      truth: their classes [N'].
    """
    # Here, since importing them takes a second that training need not wait for.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    scaler = StandardScaler().fit(inputs)
    machine = LinearSVC(
        penalty="l1",
        dual=False,
        C=strength(len(inputs)),
        intercept_scaling=_INTERCEPT,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(scaler.transform(inputs), label)
    weights = np.abs(machine.coef_).sum(0)
    right = machine.predict(scaler.transform(judged)) == truth
    return weights / (weights.sum() or 1.0), right


def strength(count: int) -> float:
    """C for so many rows."""
    return _STRENGTH / math.sqrt(count)
