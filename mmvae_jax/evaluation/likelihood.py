"""How probable does the model find the data? log p of modalities, and of some given others.

log p(x_A) is estimated by importance sampling from the model's own posterior given x_A,

    log (1/S) sum_s p(x_A, z_s) / q(z_s | x_A),   z_s ~ q(z | x_A),

and log p(x_A | x_B) is the estimate of log p(x_A, x_B) minus that of log p(x_B). Likelihoods are
the raw ones, whatever weights (lambda) the model was trained with. An estimate of log p is too low
in expectation, the less so the larger S; a difference of two may err either way. Read them beside
the share of draws that count (effective sample size over S) and the variance of the log-weights
(MVAE, Wu & Goodman 2018, suppl.), which is smaller the better the posterior fits. Those of
log p(x_A | x_B) are of the weights p(x_A | z) q(z | x_B) / q(z | x_A, x_B), z ~ q(z | x_A, x_B).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import models, objectives
from mmvae_jax.evaluation import likelihood_sets
from mmvae_jax.evaluation.context import Context, stream
from mmvae_jax.evaluation.likelihood_sets import Asked, Names
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.evaluation.sampling import some_rows
from mmvae_jax.types import Array, Batch, Variables

_FAMILIES = ("log_likelihood", "effective_sample_fraction", "log_weight_variance")


class Estimate(NamedTuple):
    """Of every row, [N]: log p in nats, effective sample size over S, variance of log-weights."""

    log_p: np.ndarray
    effective: np.ndarray
    variance: np.ndarray


def log_likelihoods(context: Context) -> dict[str, Result]:
    """log p of the sets of modalities of ``evaluation.likelihood_sets``, see `likelihood_sets`.

    ``log_likelihood/joint``, ``log_likelihood/marginal/<of>`` and
    ``log_likelihood/conditional/<of>|<given>`` (several joined by ``+``), and of each
    ``effective_sample_fraction/...`` and ``log_weight_variance/...``. These are also there of log
    p(of) under draws from the posterior given both sides, ``.../marginal_from_all/<of>|<given>``.
    Only what is present of a row is scored or given; rows without any of the modalities asked for,
    or with nothing given, are left out.
    """
    names, settings = context.names, context.settings
    rows = some_rows(context.rows, settings.likelihood_examples or len(context.rows))
    present = {name: np.asarray(rows.present[name], bool) for name in names}
    whole = len(context.dataset.splits[settings.split])
    some = "all" if len(rows) == whole else f"{len(rows)} of {whole}"
    # Beside papers' numbers stands only what says here that it took enough draws and all rows.
    how = (
        f"importance sampling, S = {settings.likelihood_samples} draws from the model's own "
        f"posterior given the same, nats; error over {some} {settings.split} rows"
    )
    of = functools.cache(functools.partial(estimate, context, rows))
    results: dict[str, Result] = {}
    for label, one in likelihood_sets.chosen(settings.likelihood_sets, names).items():
        counted = _any(present, one.of)
        if not one.given:
            if not counted.any():
                reason = f"no {settings.split} row has any of it"
                context.skipped[f"log_likelihood/{label}"] = reason
                continue
            values = of(one.of)
            results[f"log_likelihood/{label}"] = mean(values.log_p[counted], how)
            results |= _of_weights(label, values, counted, how)
            continue
        counted &= _any(present, one.given)
        if not counted.any():
            reason = f"no {settings.split} row has both sides"
            context.skipped[f"log_likelihood/{label}"] = reason
            continue
        both = tuple(name for name in names if name in (*one.of, *one.given))
        ratio = of(both).log_p[counted] - of(one.given).log_p[counted]
        sides = "all" if both == names else "both"
        results[f"log_likelihood/{label}"] = mean(ratio, f"log p({sides}) - log p(given); {how}")
        marginal, conditional = estimate_from_all(context, rows, one)
        results |= _of_weights(label, conditional, counted, f"p(of | z) q(z | given); {how}")
        label = label.replace("conditional", "marginal_from_all", 1)
        results |= _of_weights(label, marginal, counted, f"p(of, z), draws given both; {how}")
    if not results:
        raise NotApplicable(f"no {settings.split} row has anything present")
    if len(names) < 2:
        context.skipped["log_likelihood/conditional"] = "there is one modality only"
    return dict(sorted(results.items(), key=_family))


def _of_weights(label: str, values: Estimate, counted: np.ndarray, how: str) -> dict[str, Result]:
    """How good the draws behind an estimate were: effective sample size and variance."""
    found = {
        f"effective_sample_fraction/{label}": mean(
            values.effective[counted], f"effective sample size over S; {how}"
        )
    }
    if not np.isnan(values.variance).all():  # of one draw there is none
        found[f"log_weight_variance/{label}"] = mean(
            values.variance[counted], f"between the log-weights of a row; {how}"
        )
    return found


def estimate(context: Context, rows: Any, names: Names) -> Estimate:
    """log p(x_names) of every row of a split: only its present ones of ``names`` count."""
    marginal, _ = _over_rows(context, rows, Asked(names, ()), "+".join(names))
    return marginal


def estimate_from_all(context: Context, rows: Any, one: Asked) -> tuple[Estimate, Estimate]:
    """Of p(of, z) and of p(of | z) q(z | given) under draws of z given both, of every row.

    The second takes q(z | given) for p(z | given): its ``log_p`` is no estimate of log p.
    """
    purpose = f"from all/{'+'.join(one.of)}|{'+'.join(one.given)}"
    return _over_rows(context, rows, one, purpose)


def _over_rows(context: Context, rows: Any, one: Asked, purpose: str) -> tuple[Estimate, Estimate]:
    """From marginal and from conditional log-weights, in batches of rows; the purpose is a seed.

    One program for whatever is asked, which decodes every modality: compiling one for each took
    fifty times as long as the default number of draws.
    """
    settings = context.settings
    codes = models.codes_at_once(context.model.specs)
    size = min(settings.batch_size, codes)
    chunk = min(settings.likelihood_samples, max(1, codes // min(size, len(rows))))
    seed = context.seed_for(f"log_likelihood/{purpose}")
    sides = [np.array([name in side for name in context.names]) for side in one]
    parts = [
        _estimate(
            context.model,
            chunk,
            context.variables,
            seed,
            np.uint32(index),
            np.int32(settings.likelihood_samples),
            *sides,
            batch,
        )
        for index, batch in enumerate(context.batches(rows, size))
    ]
    joined = [np.concatenate(field, 1)[:, : len(rows)] for field in zip(*parts, strict=True)]
    marginal, conditional = (Estimate(*fields) for fields in zip(*joined, strict=True))
    return marginal, conditional


@functools.partial(jax.jit, static_argnums=(0, 1))
def _estimate(
    model: Any,
    chunk: int,
    variables: Variables,
    seed: Array,
    index: Array,
    num_samples: Array,
    of: Array,
    given: Array,
    batch: Batch,
) -> tuple[Array, Array, Array]:
    """The fields of `Estimate`, [2, B] each, from marginal and conditional log-weights.

    Both are of the same ``num_samples`` draws, ``chunk`` at a time. Modalities that are neither
    asked for nor given [M] are taken for absent.
    """
    key = stream(seed, index)
    chosen = of | given
    here = {
        spec.name: batch["present"][spec.name] & chosen[i] for i, spec in enumerate(model.specs)
    }
    batch = {**batch, "present": here}
    summarize = jax.vmap(objectives.summarize_weights, in_axes=(0, None))

    def add(place: Array, so_far: objectives.WeightSummary) -> objectives.WeightSummary:
        rng = jax.random.fold_in(key, place)
        log_w = model.marginal_and_conditional_log_weights(variables, rng, batch, of, given, chunk)
        used = jnp.arange(chunk) < num_samples - place * chunk
        return objectives.merge_summaries(so_far, summarize(jnp.stack(log_w), used))

    nothing = jnp.zeros((2, chunk, batch["weight"].shape[0]))
    start = summarize(nothing, jnp.zeros(chunk, bool))
    total = jax.lax.fori_loop(0, (num_samples + chunk - 1) // chunk, add, start)
    return total.log_mean, total.effective_sample_size / total.count, total.variance


def _family(item: tuple[str, Result]) -> int:
    """Likelihoods come first in the table of results, then what their draws are worth."""
    return _FAMILIES.index(item[0].partition("/")[0])


def _any(present: dict[str, np.ndarray], names: Names) -> np.ndarray:
    return np.stack([present[name] for name in names]).any(0)
