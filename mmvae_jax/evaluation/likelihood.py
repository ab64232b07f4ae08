"""How probable does the model find the data? log p of modalities, and of some given others.

log p(x_A) is estimated by importance sampling from the model's own posterior given x_A,

    log (1/S) sum_s p(x_A, z_s) / q(z_s | x_A),   z_s ~ q(z | x_A),

and log p(x_A | x_B) is the estimate of log p(x_A, x_B) minus that of log p(x_B). Likelihoods are
the raw ones, whatever weights (lambda) the model was trained with. An estimate of log p is too low
in expectation, the less so the larger S; a difference of two may err either way. Read them beside
the share of draws that count (effective sample size over S) and the variance of the log-weights
(MVAE, Wu & Goodman 2018, suppl.), which is smaller the better the posterior fits.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import objectives
from mmvae_jax.evaluation.context import Context, first_rows, stream
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.types import Array, Batch, Variables

_CODES = 4096  # decoded at once: draws in one step times the rows of a batch

Names = tuple[str, ...]


class Estimate(NamedTuple):
    """Of every row, [N]: log p in nats, effective sample size over S, variance of log-weights."""

    log_p: np.ndarray
    effective: np.ndarray
    variance: np.ndarray


def log_likelihoods(context: Context) -> dict[str, Result]:
    """The joint, every marginal, and every modality given all the others.

    ``log_likelihood/joint``, ``log_likelihood/marginal/<name>`` and
    ``log_likelihood/conditional/<of>|<given>`` (several given ones joined by ``+``), and of the
    first two ``effective_sample_fraction/...`` and ``log_weight_variance/...``. 2 M + 1 estimates
    at most. Only what is present of a row is scored or given; rows without the modality asked
    for, or with nothing given, are left out.
    """
    names, settings = context.names, context.settings
    rows = first_rows(context.rows, settings.likelihood_examples or len(context.rows))
    present = {name: np.asarray(rows.present[name], bool) for name in names}
    whole = len(context.dataset.splits[settings.split])
    some = "all" if len(rows) == whole else f"the first {len(rows)} of {whole}"
    # Beside papers' numbers stands only what says here that it took enough draws and all rows.
    how = (
        f"importance sampling, S = {settings.likelihood_samples} draws from the model's own "
        f"posterior given the same, nats; error over {some} {settings.split} rows"
    )
    found: dict[Names, Estimate] = {}

    def of(chosen: Names) -> Estimate:
        if chosen not in found:
            found[chosen] = estimate(context, rows, chosen)
        return found[chosen]

    results: dict[str, Result] = {}
    for label, chosen in _asked(names):
        counted = _any(present, chosen)
        if not counted.any():
            context.skipped[f"log_likelihood/{label}"] = f"no {settings.split} row has any of it"
            continue
        values = of(chosen)
        results[f"log_likelihood/{label}"] = mean(values.log_p[counted], how)
        results[f"effective_sample_fraction/{label}"] = mean(
            values.effective[counted], f"effective sample size over S; {how}"
        )
        if settings.likelihood_samples > 1:
            results[f"log_weight_variance/{label}"] = mean(
                values.variance[counted], f"between the log-weights of a row; {how}"
            )
    if not results:
        raise NotApplicable(f"no {settings.split} row has anything present")
    if len(names) < 2:
        context.skipped["log_likelihood/conditional"] = "there is one modality only"
        return results
    for target in names:
        given = tuple(name for name in names if name != target)
        label = f"log_likelihood/conditional/{target}|{'+'.join(given)}"
        counted = present[target] & _any(present, given)
        if not counted.any():
            context.skipped[label] = f"no {settings.split} row has both sides"
            continue
        ratio = of(names).log_p[counted] - of(given).log_p[counted]
        results[label] = mean(ratio, f"log p(all) - log p(given); {how}")
    return results


def estimate(context: Context, rows: Any, names: Names) -> Estimate:
    """log p(x_names) of every row of a split: only its present ones of ``names`` count.

    One program for whatever names, which decodes every modality: compiling one for each took fifty
    times as long as the default number of draws.
    """
    settings = context.settings
    size = min(settings.batch_size, _CODES)
    chunk = min(settings.likelihood_samples, max(1, _CODES // min(size, len(rows))))
    seed = context.seed_for(f"log_likelihood/{'+'.join(names)}")
    chosen = np.array([name in names for name in context.names])
    parts = [
        _estimate(
            context.model,
            chunk,
            context.variables,
            seed,
            np.uint32(index),
            np.int32(settings.likelihood_samples),
            chosen,
            batch,
        )
        for index, batch in enumerate(context.batches(rows, size))
    ]
    return Estimate(*(np.concatenate(field)[: len(rows)] for field in zip(*parts, strict=True)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _estimate(
    model: Any,
    chunk: int,
    variables: Variables,
    seed: Array,
    index: Array,
    num_samples: Array,
    chosen: Array,
    batch: Batch,
) -> tuple[Array, Array, Array]:
    """The fields of `Estimate`, [B] each, from ``num_samples`` draws, ``chunk`` at a time.

    Modalities that are not ``chosen`` [M] are taken for absent.
    """
    key = stream(seed, index)
    names = tuple(spec.name for spec in model.specs)
    present = {name: batch["present"][name] & chosen[i] for i, name in enumerate(names)}
    batch = {**batch, "present": present}

    def add(place: Array, so_far: objectives.WeightSummary) -> objectives.WeightSummary:
        rng = jax.random.fold_in(key, place)
        log_w = model.log_weights(variables, rng, batch, names, (), chunk)
        used = jnp.arange(chunk) < num_samples - place * chunk
        return objectives.merge_summaries(so_far, objectives.summarize_weights(log_w, used))

    nothing = jnp.zeros((chunk, batch["weight"].shape[0]))
    start = objectives.summarize_weights(nothing, jnp.zeros(chunk, bool))
    total = jax.lax.fori_loop(0, (num_samples + chunk - 1) // chunk, add, start)
    return total.log_mean, total.effective_sample_size / total.count, total.variance


def _asked(names: Names) -> Iterable[tuple[str, Names]]:
    yield "joint", names
    for name in names:
        yield f"marginal/{name}", (name,)


def _any(present: dict[str, np.ndarray], names: Names) -> np.ndarray:
    return np.stack([present[name] for name in names]).any(0)
