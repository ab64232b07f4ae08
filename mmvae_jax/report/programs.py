"""The four compiled programs behind all pictures: encode, decode, draw given some, generate.

Compiling them takes longer than running them, so that each has one shape, and figures fill it up:
codes are encoded and decoded `ROWS` at a time, and which modalities are given is a matter of
presence, not of another program.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.posteriors import shares, squared_wasserstein
from mmvae_jax.evaluation.result import NotApplicable
from mmvae_jax.report.view import NothingToShow, View
from mmvae_jax.types import Batch

ROWS = 100
DRAWS = 3  # of every conditional generation
SAMPLES = 30  # from the prior


class Codes(NamedTuple):
    """Where items lie in the latent spaces; all arrays NumPy's.

    Attributes:
      shared: the codes [B, D] at the posterior means, as `decode` takes them.
      private: {name: [B, W]}, posterior means, 0 (the mean of the prior) where not given.
      features: the shared codes as decoders see them, [B, D].
      posterior: parameters of q(z | given), means over the strata that live, [B, D] each.
      strata: how many of these there are, [B].
      kl: of each factor of the shared code to its prior in nats, mean over these strata, [B, F].
      private_kl: the same of each dimension of the private codes, {name: [B, W]}.
    """

    shared: np.ndarray
    private: dict[str, np.ndarray]
    features: np.ndarray
    posterior: dict[str, np.ndarray]
    strata: np.ndarray
    kl: np.ndarray
    private_kl: dict[str, np.ndarray]


def given(batch: Batch, names: Sequence[str]) -> dict[str, Any]:
    """The batch in which only the named modalities are present."""
    present = {
        name: here if name in names else jnp.zeros_like(here)
        for name, here in batch["present"].items()
    }
    return {**batch, "present": present}


def encode(view: View, batch: Batch, names: Sequence[str] | None = None) -> Codes:
    """The codes of a prepared batch, given its present modalities among ``names`` (None: all)."""
    batch = batch if names is None else given(batch, names)
    rows = {"x": batch["x"], "present": batch["present"], "weight": batch["weight"]}
    return _in_parts(lambda part: _encode(view.model, view.variables, part), rows)


def distances(view: View, batch: Batch, names: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """2-Wasserstein distances between posteriors given each of two of ``names`` alone: [B, B].

    Of every two, in their order; see ``mmvae_jax.evaluation.posteriors``. `NothingToShow` where a
    posterior has no such distance. Rows in which a modality is absent have any number.
    """
    posteriors = {}
    for name in names:
        codes = encode(view, batch, (name,))
        if (codes.strata[np.asarray(batch["present"][name])] > 1).any():
            raise NothingToShow("given one modality the posterior is a mixture, not one expert")
        posteriors[name] = codes.posterior
    try:
        return {
            (a, b): np.sqrt(squared_wasserstein(view.model.shared, posteriors[a], posteriors[b]))
            for a, b in itertools.combinations(names, 2)
        }
    except NotApplicable as reason:
        raise NothingToShow(str(reason)) from reason


def decode(
    view: View, shared: np.ndarray, private: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What codes [N, D] and {name: [N, W]} are decoded to, means {name: [N, ...]}."""
    codes = (shared, dict(private))
    return _in_parts(lambda part: _decode(view.model, view.variables, *part), codes)


def conditional(view: View, names: Sequence[str]) -> dict[str, np.ndarray]:
    """`DRAWS` draws of every modality given some, private codes from the prior: [K, B, ...]."""
    key = view.key(f"conditional/{'+'.join(names)}")
    return jax.device_get(
        _conditional(view.model, view.variables, key, given(view.batch, names), DRAWS)
    )


def generate(view: View, purpose: str, private_scale: float = 1.0) -> dict[str, np.ndarray]:
    """`SAMPLES` draws from the prior; the same shared codes at every scale of private ones."""
    scale = jnp.float32(private_scale)
    drawn = _generate(view.model, view.variables, view.key(purpose), scale, SAMPLES)
    return jax.device_get(drawn)


@compiling.jit(static_argnums=0)
def _encode(model, variables, batch):
    posterior = model.encode(variables, batch)
    weight = shares(posterior.strata)

    def mean(parameters):
        return (weight[..., None] * parameters).sum(0)

    embedded = model.embed(variables, batch)
    private = {
        key.removeprefix("private/"): code
        for key, code in embedded.items()
        if key.startswith("private/")
    }
    shared = mean(model.shared.mean_code(posterior.shared))
    kl = mean(model.shared.factor_kl(posterior.shared, model.shared_prior(variables)))
    private_kl = {}
    for spec in model.specs:
        if spec.private_dim:
            space = model.private_space(spec)
            own = posterior.private[spec.name]
            private_kl[spec.name] = space.factor_kl(own, space.prior())
    return Codes(
        shared=shared,
        private=private,
        features=embedded["shared"],
        posterior=jax.tree.map(mean, posterior.shared),
        strata=posterior.strata.sum(0),
        kl=kl,
        private_kl=private_kl,
    )


@compiling.jit(static_argnums=0)
def _decode(model, variables, shared, private):
    return model.mean(model.decode(variables, shared, private))


@compiling.jit(static_argnums=(0, 4))
def _conditional(model, variables, rng, batch, count):
    return model.conditional(variables, rng, batch, model.names, count, private="prior")


@compiling.jit(static_argnums=(0, 4))
def _generate(model, variables, rng, scale, count):
    return model.generate(variables, rng, count, scale)


def _in_parts(call: Callable[[Any], Any], rows: Any) -> Any:
    """Applies ``call`` to `ROWS` rows at a time, the last ones repeated to fill up, and joins."""
    rows = jax.device_get(rows)
    size = len(jax.tree.leaves(rows)[0])
    parts = []
    for start in range(0, size, ROWS):
        index = np.minimum(np.arange(start, start + ROWS), size - 1)
        part = jax.tree.map(lambda array, index=index: jnp.asarray(array[index]), rows)
        parts.append(jax.device_get(call(part)))
    return jax.tree.map(lambda *found: np.concatenate(found)[:size], *parts)
