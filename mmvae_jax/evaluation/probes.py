"""Linear probes: what class information do the shared and the private codes hold?

Logistic regression (lbfgs, 1000 iterations at most) on standardised posterior samples, as MMVAE+
does it, or on posterior means (``evaluation.probe_codes``), each modality encoded alone. A good
model has it all in the shared codes. A modality that is the label itself is left out: it is no news
that a code of the class tells the class. Given several modalities: see `probe_subsets`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.context import Context, labelled, stream
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.types import Array, Batch, PRNGKey, UserError, Variables

SAMPLES, MEANS = "samples", "means"


def linear_probes(context: Context) -> dict[str, Result]:
    """``probe/shared/<name>``, ``probe/private/<name>`` and the mean of each kind."""
    context.require_labels()
    split, codes = context.settings.split, context.settings.probe_codes
    train = training_rows(context.dataset.splits["train"], context.settings)
    results: dict[str, Result] = {}
    for name in context.names:
        if name in context.labels:
            context.skipped[f"probe/shared/{name}"] = "it is the class itself"
            continue
        learn = draw_codes(context, train, name, "train", codes)
        judge = draw_codes(context, context.rows, name, split, codes)
        for kind in ("shared", "private"):
            if kind not in learn:
                context.skipped[f"probe/{kind}/{name}"] = f"it has no {kind} code"
                continue
            try:
                right = predicted_right(learn[kind], learn["label"], judge[kind], judge["label"])
            except NotApplicable as reason:
                context.skipped[f"probe/{kind}/{name}"] = str(reason)
                continue
            results[f"probe/{kind}/{name}"] = mean(right, said(context, len(learn["label"])))
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


def draw_codes(
    context: Context, split: Any, name: str, which: str, codes: str = SAMPLES
) -> dict[str, np.ndarray]:
    """Codes given ``name`` alone: shared [N, D], private [N, W], label [N]; see `codes_given`.

    A space without dimensions is left out.
    """
    seed = context.seed_for(f"probe/{which}/{name}")
    parts = [
        _given_alone(context.model, codes, name, context.variables, seed, np.uint32(index), batch)
        for index, batch in enumerate(context.batches(split))
    ]
    found = {kind: np.concatenate([np.asarray(part[kind]) for part in parts]) for kind in parts[0]}
    rows = found.pop("weight") > 0
    return {kind: values[rows] for kind, values in found.items() if values[:1].size}


@compiling.jit(static_argnums=(0, 1, 2))
def _given_alone(
    model: Any, codes: str, name: str, variables: Variables, seed: Array, index: Array, batch: Batch
) -> dict[str, Array]:
    shared, private = codes_given(model, codes, variables, stream(seed, index), batch, (name,))
    found = {"shared": shared, "label": batch["label"]}
    if name in private:
        found["private"] = private[name]
    return {**found, "weight": labelled(batch) * batch["present"][name].astype(shared.dtype)}


def codes_given(
    model: Any, codes: str, variables: Variables, key: PRNGKey, batch: Batch, given: tuple[str, ...]
) -> tuple[Array, dict[str, Array]]:
    """Shared codes [B, D] and the given modalities' private codes {name: [B, W]}.

    ``codes``: one sample of the posterior given these modalities, or its means.

    Raises:
      UserError: ``codes`` is neither.
    """
    if codes == MEANS:
        found = model.embed(variables, batch, given)
        private = {name: found.get(f"private/{name}") for name in given}
        return found["shared"], {name: code for name, code in private.items() if code is not None}
    if codes != SAMPLES:
        raise UserError(f"config.evaluation.probe_codes={codes}: must be {SAMPLES} or {MEANS}")
    shared, private = model.sample_posterior(variables, key, batch, given, 1)
    return (
        model.shared.features(shared[0]),
        {name: private[name][0] for name in given if name in private},
    )


def said(context: Context, count: int) -> str:
    """How a probe that learnt from so many rows was computed."""
    settings = context.settings
    return (
        f"logistic regression on posterior {settings.probe_codes} of {count} training rows; "
        f"error over {settings.split} rows"
    )


def predicted_right(
    inputs: np.ndarray, label: np.ndarray, judged: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """Whether the probe names the right class, bool [N'].

    Args:
      inputs: codes to learn from [N, D].
      label: their classes [N].
      judged: codes to be told the class of [N', D].
      truth: their classes [N'].

    Raises:
      NotApplicable: there is nothing to learn or to judge.
    """
    # Here, since importing them takes a second that training need not wait for.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if not len(truth) or len(np.unique(label)) < 2:
        raise NotApplicable("too few labelled rows in which it is present")
    scaler = StandardScaler().fit(inputs)
    probe = LogisticRegression(max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(scaler.transform(inputs), label)
    return probe.predict(scaler.transform(judged)) == truth
