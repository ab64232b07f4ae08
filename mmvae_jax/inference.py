"""Using a trained model from Python: `load` a run, then encode, generate, impute."""

from __future__ import annotations

import dataclasses
import functools
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import models, objectives, training
from mmvae_jax.types import Batch, ModalitySpec, UserError, Variables

PRESENT = "__present"
_ROWS = 256  # rows in one compiled call; the last one is padded
_DRAWS = 4096  # rows times draws in one compiled call


def load(workdir: str | Path, *, step: int | str | None = None) -> Trained:
    """Loads a trained run.

    Args:
      workdir: folder of the run.
      step: checkpoint to load: a number, ``"best"`` by validation bound, or None for the latest.

    Returns:
      The trained model with its variables.

    Raises:
      UserError: no run there, no such checkpoint, or none that is whole.
    """
    run = training.read_run(workdir)
    try:
        specs = tuple(ModalitySpec.from_json(values) for values in run["modalities"])
        model = models.build(run["config"], specs)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{workdir}/config.json is not of this version: {error!r}") from error
    blank = {
        "x": {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in specs},
        "present": {spec.name: np.ones(1, bool) for spec in specs},
    }
    abstract = jax.eval_shape(lambda: model.init(jax.random.key(0), models.prepare(blank)))
    variables, found = training.restore_variables(workdir, abstract, step)
    return Trained(model=model, variables=variables, config=run["config"], step=found)


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A trained model.

    Batches are either ``{"x": {...}, "present": {...}}`` or plain dictionaries of NumPy arrays by
    modality, in the stored dtype (images uint8), where missing modalities are left out and
    ``<name>__present`` (bool) marks rows that lack one.

    Attributes:
      model: the model, for everything that this class does not do.
      variables: its Flax collections.
      config: the run's config as plain values.
      step: the training step of the variables.
    """

    model: models.MultimodalVAE
    variables: Variables
    config: Mapping[str, Any]
    step: int

    def encode(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Embeddings: ``shared`` [B, D] and ``private/<name>`` [B, W], posterior means.

        Private codes of absent modalities are 0, the mean of their prior.
        """
        call = self._jitted("embed", lambda v, rng, x: self.model.embed(v, x))
        batch = self._checked(batch)
        return self._over_rows(batch, lambda rows, key: call(self.variables, key, rows), 0)

    def generate(self, n: int, *, seed: int = 0, private_scale: float = 1.0) -> dict[str, Any]:
        """``n`` items drawn from the prior, {name: [n, *shape]} in the stored dtype."""
        _at_least_one("n", n)
        call = self._jitted(
            "generate", lambda v, rng, scale: self.model.generate(v, rng, _ROWS, scale)
        )
        parts = [
            jax.device_get(call(self.variables, _key(seed, start), jnp.float32(private_scale)))
            for start in range(0, n, _ROWS)
        ]
        joined = jax.tree.map(lambda *rows: np.concatenate(rows)[:n], *parts)
        return {spec.name: _stored(joined[spec.name], spec) for spec in self.model.specs}

    def impute(
        self, batch: Mapping[str, Any], num_samples: int = 16, *, seed: int = 0
    ) -> dict[str, np.ndarray]:
        """Fills in what is missing.

        Args:
          batch: items, see the class.
          num_samples: draws; a filled-in image or vector is their mean, a class the most probable.
          seed: of the draws.

        Returns:
          {name: [B, *shape]} of every modality in the stored dtype, observed entries untouched.
        """
        batch = self._checked(batch)
        chunk = _chunk(num_samples)
        call = self._jitted(f"impute{chunk}", functools.partial(self._sum_of_draws, chunk))

        def mean(rows: Batch, key: Any) -> dict[str, Any]:
            parts = self._in_chunks(call, rows, key, num_samples)
            total = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)
            return jax.tree.map(lambda x: x / jnp.float32(num_samples), total)

        means = self._over_rows(batch, mean, seed)
        filled = {}
        for spec in self.model.specs:
            here = batch["present"][spec.name]
            stored = _stored(means[spec.name], spec)
            mask = here.reshape(-1, *(1,) * (stored.ndim - 1))
            filled[spec.name] = np.where(mask, batch["x"][spec.name], stored)
        return filled

    def _sum_of_draws(
        self, chunk: int, variables: Variables, rng: Any, rows: Batch, used: Any
    ) -> dict[str, Any]:
        """Sums of the first ``used`` of ``chunk`` draws of the decoder means."""
        draws = self.model.conditional(variables, rng, rows, self.model.names, chunk)
        return {
            name: jnp.where(_column(jnp.arange(chunk) < used, x.ndim), x, 0.0).sum(0)
            for name, x in draws.items()
        }

    def log_likelihood(
        self,
        batch: Mapping[str, Any],
        given: Sequence[str] = (),
        of: Sequence[str] | None = None,
        num_samples: int = 1000,
        *,
        seed: int = 0,
    ) -> np.ndarray:
        """Importance-sampled log p(of | given) per item [B], in nats, raw likelihoods.

        log p(of, given) with draws from the posterior given both, minus log p(given) with draws
        from the posterior given that. Absent modalities of an item count on neither side.

        Args:
          batch: items, see the class.
          given: modalities to condition on.
          of: modalities whose likelihood is asked for; None for all that are not given.
          num_samples: importance samples per item.
          seed: of the draws.
        """
        of = tuple(name for name in self.model.names if name not in given) if of is None else of
        for name in (*given, *of):
            self.model.spec(name)
        if set(given) & set(of):
            raise UserError(f"{sorted(set(given) & set(of))} cannot be both given and asked for")
        batch = self._checked(batch)
        joint = self._log_marginal(batch, (*given, *of), num_samples, seed)
        if not given:
            return joint
        return joint - self._log_marginal(batch, tuple(given), num_samples, seed)

    def _log_marginal(
        self, batch: Batch, names: tuple[str, ...], num_samples: int, seed: int
    ) -> np.ndarray:
        chunk = _chunk(num_samples)

        def draw(variables: Variables, rng: Any, rows: Batch, used: Any) -> Any:
            log_w = self.model.log_weights(variables, rng, rows, names, (), chunk)
            mask = jnp.broadcast_to((jnp.arange(chunk) < used)[:, None], log_w.shape)
            count = used.astype(jnp.float32)
            return objectives.log_mean_exp(log_w, axis=0, where=mask) + jnp.log(count)

        call = self._jitted(f"log_marginal{chunk}{names}", draw)

        def marginal(rows: Batch, key: Any) -> dict[str, Any]:
            parts = self._in_chunks(call, rows, key, num_samples)
            return {"log_p": functools.reduce(jnp.logaddexp, parts) - math.log(num_samples)}

        return self._over_rows(batch, marginal, seed)["log_p"]

    # --- plumbing -----------------------------------------------------------------------------

    @functools.cached_property
    def _programs(self) -> dict[str, Callable[..., Any]]:
        return {}

    def _jitted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return self._programs.setdefault(name, jax.jit(function))

    def _in_chunks(
        self, call: Callable[..., Any], rows: Batch, key: Any, num_samples: int
    ) -> Iterator[Any]:
        """Calls with `_chunk` draws each; of the last one only so many count as are left."""
        chunk = _chunk(num_samples)
        for place, start in enumerate(range(0, num_samples, chunk)):
            used = np.int32(min(chunk, num_samples - start))
            yield call(self.variables, jax.random.fold_in(key, place), rows, used)

    def _checked(self, batch: Mapping[str, Any]) -> Batch:
        if not isinstance(batch.get("x"), Mapping):
            return from_arrays(batch, self.model.specs)
        marks = {name + PRESENT: here for name, here in batch.get("present", {}).items()}
        return from_arrays({**batch["x"], **marks}, self.model.specs)

    def _over_rows(
        self, batch: Batch, call: Callable[[Batch, Any], Any], seed: int
    ) -> dict[str, np.ndarray]:
        """Applies ``call(rows, key)`` to padded slices and joins the results without padding."""
        size = len(next(iter(batch["x"].values())))
        parts = []
        for start, rows in _slices({"x": batch["x"], "present": batch["present"]}, size):
            parts.append(jax.device_get(call(models.prepare(rows), _key(seed, start))))
        return jax.tree.map(lambda *rows: np.concatenate(rows)[:size], *parts)


def from_arrays(arrays: Mapping[str, Any], specs: Sequence[ModalitySpec]) -> Batch:
    """A batch from plain arrays by modality name, missing ones left out.

    Raises:
      UserError: a name that is no modality, a wrong shape or dtype, different numbers of rows.
    """
    known = {spec.name: spec for spec in specs}
    for key in arrays:
        if key.removesuffix(PRESENT) not in known:
            raise UserError(f"array {key!r} is no modality of this model: {', '.join(known)}")
    sizes = {key: len(np.atleast_1d(array)) for key, array in arrays.items()}
    if not sizes:
        raise UserError(f"no modality given; this model has {', '.join(known)}")
    if len(set(sizes.values())) > 1:
        raise UserError(f"arrays have different numbers of rows: {sizes}")
    size = next(iter(sizes.values()))
    if size == 0:
        raise UserError("the arrays have no rows")
    x, present = {}, {}
    for name, spec in known.items():
        if name not in arrays:
            if name + PRESENT in arrays and np.asarray(arrays[name + PRESENT]).any():
                raise UserError(f"{name + PRESENT} marks rows as present, but {name!r} is missing")
            x[name] = np.zeros((size, *spec.shape), spec.dtype)
            present[name] = np.zeros(size, bool)
            continue
        x[name] = _matching(np.asarray(arrays[name]), spec)
        here = np.asarray(arrays.get(name + PRESENT, np.ones(size, bool)))
        if here.dtype != bool or here.shape != (size,):
            raise UserError(f"{name + PRESENT} must be bool [{size}], is {here.dtype} {here.shape}")
        if not np.isfinite(x[name][here]).all():
            raise UserError(f"modality {name!r} holds NaN or infinity in rows that are present")
        present[name] = here
    return {"x": x, "present": present}


def read_npz(path: str | Path, specs: Sequence[ModalitySpec]) -> Batch:
    """Reads a batch from an .npz; UserError where the file or an array in it does not fit."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as an .npz of plain arrays: {error}") from error
    try:
        return from_arrays(arrays, specs)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _matching(array: np.ndarray, spec: ModalitySpec) -> np.ndarray:
    if array.shape[1:] != spec.shape:
        raise UserError(
            f"modality {spec.name!r} must have shape [N, {', '.join(map(str, spec.shape))}], "
            f"has {list(array.shape)}"
        )
    if array.dtype == np.dtype(spec.dtype):
        return array
    if spec.dtype == "uint8" or not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise UserError(f"modality {spec.name!r} must be {spec.dtype}, is {array.dtype}")
    return array.astype(spec.dtype)


def _stored(mean: np.ndarray, spec: ModalitySpec) -> np.ndarray:
    """Decoder means in the dtype that the modality is stored in."""
    if spec.num_classes:
        return mean.argmax(-1).astype(spec.dtype)
    if spec.dtype == "uint8":
        return np.round(np.clip(mean, 0.0, 1.0) * 255.0).astype(np.uint8)
    if spec.dtype == "bool":
        return mean > 0.5
    return mean.astype(spec.dtype)


def _slices(batch: Any, size: int) -> Iterator[tuple[int, Any]]:
    """Slices of `_ROWS` rows, the last one filled up by repeating its last row."""
    for start in range(0, size, _ROWS):
        rows = np.minimum(np.arange(start, start + _ROWS), size - 1)
        yield start, jax.tree.map(lambda array, rows=rows: np.asarray(array)[rows], batch)


def _chunk(num_samples: int) -> int:
    """Draws in one compiled call."""
    _at_least_one("num_samples", num_samples)
    return min(num_samples, max(1, _DRAWS // _ROWS))


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{name} = {value}: must be at least 1")


def _key(seed: int, start: int) -> Any:
    return jax.random.fold_in(jax.random.key(seed), start)


def _column(mask: Any, ndim: int) -> Any:
    return mask.reshape(mask.shape + (1,) * (ndim - 1))
