"""Linear probes: what class information do the shared and the private codes hold?

Logistic regression (lbfgs, 1000 iterations at most) on standardised posterior samples, as MMVAE+
does it, each modality encoded alone. A good model has it all in the shared codes. A modality that
is the label itself is left out: it is no news that a code of the class tells the class.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import jax
import numpy as np

from mmvae_jax.evaluation.context import Context, labelled, stream
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.types import Array, Batch, Variables


def linear_probes(context: Context) -> dict[str, Result]:
    """``probe/shared/<name>``, ``probe/private/<name>`` and the mean of each kind."""
    context.require_labels()
    split = context.settings.split
    train = training_rows(context.dataset.splits["train"], context.settings)
    results: dict[str, Result] = {}
    for name in context.names:
        if name in context.labels:
            context.skipped[f"probe/shared/{name}"] = "it is the class itself"
            continue
        learn = draw_codes(context, train, name, "train")
        judge = draw_codes(context, context.rows, name, split)
        for kind in ("shared", "private"):
            if kind not in learn:
                context.skipped[f"probe/{kind}/{name}"] = f"it has no {kind} code"
                continue
            try:
                results[f"probe/{kind}/{name}"] = _probe(learn, judge, kind, split)
            except NotApplicable as reason:
                context.skipped[f"probe/{kind}/{name}"] = str(reason)
    for kind in ("shared", "private"):
        found = [result for name, result in results.items() if name.startswith(f"probe/{kind}/")]
        if not found:
            context.skipped[f"probe/{kind}/mean"] = f"no modality has a {kind} probe"
            continue
        results[f"probe/{kind}/mean"] = Result(
            value=float(np.mean([result.value for result in found])),
            standard_error=math.hypot(*[result.standard_error or 0.0 for result in found])
            / len(found),
            n=len(found),
            how="mean over modalities; error as if these were independent",
        )
    return results


def training_rows(split: Any, settings: Any) -> Any:
    """``probe_train`` rows drawn without replacement, or all."""
    count = settings.probe_train or len(split)
    if count >= len(split):
        return split
    rows = np.random.default_rng(settings.seed).choice(len(split), count, replace=False)
    return split.select(np.sort(rows))


def draw_codes(context: Context, split: Any, name: str, which: str) -> dict[str, np.ndarray]:
    """Posterior samples given ``name`` alone: shared [N, D], private [N, W], label [N].

    A space without dimensions is left out.
    """
    seed = context.seed_for(f"probe/{which}/{name}")
    parts = [
        _sampled(context.model, name, context.variables, seed, np.uint32(index), batch)
        for index, batch in enumerate(context.batches(split))
    ]
    codes = {kind: np.concatenate([np.asarray(part[kind]) for part in parts]) for kind in parts[0]}
    rows = codes.pop("weight") > 0
    return {kind: values[rows] for kind, values in codes.items() if values[:1].size}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sampled(
    model: Any, name: str, variables: Variables, seed: Array, index: Array, batch: Batch
) -> dict[str, Array]:
    shared, private = model.sample_posterior(variables, stream(seed, index), batch, (name,), 1)
    codes = {"shared": model.shared.features(shared[0]), "label": batch["label"]}
    if name in private:
        codes["private"] = private[name][0]
    return {**codes, "weight": labelled(batch) * batch["present"][name].astype(shared.dtype)}


def _probe(
    learn: dict[str, np.ndarray], judge: dict[str, np.ndarray], kind: str, split: str
) -> Result:
    # Here, since importing them takes a second that training need not wait for.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if not len(judge["label"]) or len(np.unique(learn["label"])) < 2:
        raise NotApplicable("too few labelled rows in which it is present")
    scaler = StandardScaler().fit(learn[kind])
    probe = LogisticRegression(max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(scaler.transform(learn[kind]), learn["label"])
    found = probe.predict(scaler.transform(judge[kind]))
    return mean(
        found == judge["label"],
        f"logistic regression on posterior samples of {len(learn['label'])} training rows; "
        f"error over {split} rows",
    )
