"""The bound on log p(x) with everything given: comparable between models.

log (1/K) sum_k p(x, z_k) / q(z_k | x), z_k from the model's own posterior, raw likelihoods:
the importance-weighted bound of Burda et al. (2016), whatever the model was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mmvae_jax import data, models, objectives
from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.context import Context, Settings, stream
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.evaluation.sampling import some_rows
from mmvae_jax.types import Array, Batch, Variables

_VALIDATION_ROWS = 1000
_VALIDATION_SAMPLES = 4  # at most: it runs again and again while training waits


def test_bound(context: Context) -> dict[str, Result]:
    """``bound/test`` (or ``bound/validation``): mean over the rows, in nats; error over rows."""
    samples, split = context.settings.bound_samples, context.settings.split
    seed = context.seed_for("bound/test")
    parts = [
        _bound(context.model, samples, context.variables, seed, np.uint32(index), batch)
        for index, batch in enumerate(
            context.batches(context.rows, _rows(context.model, context.settings, samples))
        )
    ]
    bound = np.concatenate([np.asarray(values) for values, _ in parts])
    counted = np.concatenate([np.asarray(weight) for _, weight in parts]) > 0
    if not counted.any():
        raise NotApplicable(f"no {split} row has anything present")
    return {
        f"bound/{split}": mean(
            bound[counted], f"K = {samples}, all present modalities given; error over {split} rows"
        )
    }


# pytest must not take it for a test.
test_bound.__test__ = False


def validation_bound(
    model: Any, dataset: Any, config: Any
) -> Callable[[Variables, int], dict[str, float]]:
    """A callback for training: the same bound on up to 1,000 validation rows.

    K is at most 4, so that it is quick; the noise is the same at every step, so that steps can
    be compared.

    Args:
      model: any model of the contract.
      dataset: its ``validation`` split is used, and kept in memory.
      config: the whole config, or its ``evaluation`` section.

    Returns:
      ``validate(variables, step) -> {"bound/validation": nats}``; {} without validation rows, or
      where the model has no likelihood to estimate.
    """
    settings = Settings.from_config(config.get("evaluation", config))
    samples = min(settings.bound_samples, _VALIDATION_SAMPLES)
    split = some_rows(dataset.splits["validation"], _VALIDATION_ROWS)
    size = min(_rows(model, settings, samples), max(len(split), 1))
    stored = list(data.batches(split, size))
    seed = np.array([settings.seed, 0], np.uint32)

    def validate(variables: Variables, step: int) -> dict[str, float]:
        del step
        try:
            parts = [
                _bound(model, samples, variables, seed, np.uint32(index), batch)
                for index, batch in enumerate(stored)
            ]
        except NotImplementedError:  # a model without p(z): nothing to compare steps by
            return {}
        total = sum(float(np.sum(np.where(w > 0, v, 0.0))) for v, w in _on_host(parts))
        count = sum(float(np.sum(w > 0)) for _, w in _on_host(parts))
        return {"bound/validation": total / count} if count else {}

    return validate


def _on_host(parts: list[tuple[Array, Array]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(values), np.asarray(weight)) for values, weight in parts]


def _rows(model: Any, settings: Settings, samples: int) -> int:
    """Rows in a batch: K times as many codes are decoded at once."""
    return max(1, min(settings.batch_size, models.codes_at_once(model.specs) // samples))


@compiling.jit(static_argnums=(0, 1))
def _bound(
    model: Any, samples: int, variables: Variables, seed: Array, index: Array, batch: Batch
) -> tuple[Array, Array]:
    """(bound [B] in nats, weight [B])."""
    batch = models.prepare(batch)
    log_w = model.log_weights(variables, stream(seed, index), batch, model.names, (), samples)
    return objectives.iwae(log_w), batch["weight"]
