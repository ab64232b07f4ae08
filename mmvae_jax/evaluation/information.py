"""What do latent codes tell of the data, and how do they depend on each other?

The KL of the posterior to the prior, averaged over the data, is the mutual information of code and
data, plus the total correlation of the code's dimensions, plus the KL of each dimension to its
prior (Chen et al. 2018); all under the aggregate posterior, the mean of q(z | x) over the data.
That is estimated from the rows themselves (see ``objectives.minibatch_kl_decomposition``), so that
no mutual information beyond the log of their number shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from mmvae_jax import objectives
from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.context import Context, stream
from mmvae_jax.evaluation.posteriors import Encoded, Parameters, encode
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.evaluation.sampling import one_of_each, said_of_each, some_rows
from mmvae_jax.types import Array, Batch, Variables

_ROWS = 512  # at most; memory grows with their square times the dimensions
_PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl", "kl")
_OF_THE_PRIOR = ("dimension_wise_kl", "kl")


class Block(NamedTuple):
    """A latent code: its space, posteriors and prior [N, ...], and which rows have it [N]."""

    space: Any
    posterior: Parameters
    prior: Parameters
    rows: np.ndarray


def information(context: Context) -> dict[str, Result]:
    """``information/mutual_information/<block>`` and the same of three more, in nats.

    ``total_correlation``, ``dimension_wise_kl`` and ``kl``, which is the sum of the three. Blocks
    are ``joint``, the shared code given all that is present; ``shared/<name>``, given one modality
    alone; and ``private/<name>``. One draw of each row, and one row of each item: the
    mutual information with an image that is in ten rows is no more than that with it in one. Of a
    mixture nothing is said: its dimensions depend on each other. Where a model has no p(z) there
    is no KL to it.
    """
    split = context.settings.split
    measured = one_of_each(context.rows)
    rows = some_rows(measured, _ROWS)
    found = encode(context, rows)
    no_prior = _lacks_prior(context, next(context.batches(rows)))
    if no_prior:
        for part in _OF_THE_PRIOR:
            context.skipped[f"information/{part}"] = no_prior
    everywhere = [np.asarray(measured.present[name], bool) for name in context.names]
    sizes = {name: int(here.sum()) for name, here in zip(context.names, everywhere, strict=True)}
    sizes[""] = int(np.stack(everywhere).any(0).sum())
    results: dict[str, Result] = {}
    for label, block in _blocks(context, found):
        if block.rows.sum() < 2:
            context.skipped[f"information/{label}"] = f"fewer than two {split} rows have it"
            continue
        size = sizes[label.partition("/")[2]]
        seed = context.seed_for(f"information/{label}")
        parts = _decomposed(block.space, block.posterior, block.prior, seed, size, block.rows)
        how = (
            f"aggregate posterior of {size} {split} rows{said_of_each(rows)}, from one draw of "
            f"each of {int(block.rows.sum())}; at most {np.log(size):.2f} of mutual information "
            "can show; nats; error over rows"
        )
        for part, values in zip(_PARTS, parts, strict=True):
            if not (no_prior and part in _OF_THE_PRIOR):
                known = np.asarray(values)[block.rows]
                results[f"information/{part}/{label}"] = mean(known, how)
    if not results:
        raise NotApplicable(f"no latent code of two {split} rows has one posterior each")
    # Grouped by what is measured, as they are read.
    return {
        name: results[name]
        for part in _PARTS
        for name in results
        if name.startswith(f"information/{part}/")
    }


def _blocks(context: Context, found: Encoded) -> Iterator[tuple[str, Block]]:
    """Every latent code that is no mixture, by its label."""
    model, count = context.model, len(next(iter(found.present.values())))
    prior = jax.device_get(model.shared_prior(context.variables, (count,)))
    for name in ("", *context.names):
        label = f"shared/{name}" if name else "joint"
        if found.is_mixture(name):
            context.skipped[f"information/{label}"] = "the posterior is a mixture"
            continue
        posterior = found.alone[name] if name else found.joint
        here = found.present[name] if name else np.stack(list(found.present.values())).any(0)
        yield label, Block(model.shared, posterior, prior, here)
    for spec in model.specs:
        if spec.name in found.private:
            space = model.private_space(spec)
            prior_of_it = jax.device_get(space.prior((count,)))
            own, here = found.private[spec.name], found.present[spec.name]
            yield f"private/{spec.name}", Block(space, own, prior_of_it, here)


@compiling.jit(static_argnums=0)
def _decomposed(
    space: Any, posterior: Parameters, prior: Parameters, seed: Array, size: Array, rows: Array
) -> tuple[Array, Array, Array, Array]:
    """Mutual information, total correlation, dimension-wise KL and KL at one draw, [N] each."""
    code = space.sample(posterior, stream(seed, np.uint32(0)))
    # log q(z_i^f | x_j) at [i, j, f] and log p(z_i^f), f the independent factors.
    log_q = space.factor_log_prob(posterior, code[:, None])
    log_p = space.factor_log_prob(prior, code)
    parts = objectives.minibatch_kl_decomposition(log_q, log_p, size, present=rows)
    return *parts, space.log_prob(posterior, code) - space.log_prob(prior, code)


def _lacks_prior(context: Context, batch: Batch) -> str:
    """Why there is no p(z), "" where there is: a model without it has no likelihoods either."""

    def one(variables: Variables, rng: Array, batch: Batch) -> Array:
        return context.model.log_weights(variables, rng, batch, context.names, (), 1)

    try:
        jax.eval_shape(one, context.variables, jax.random.key(0), batch)
    except NotImplementedError as reason:
        return str(reason)
    return ""
