"""Using a trained model from Python: `load` a run, then encode, generate, impute."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import data, models, objectives, reporting, training
from mmvae_jax.data.arrays import PRESENT
from mmvae_jax.data.items import as_data, from_arrays
from mmvae_jax.types import Batch, ModalitySpec, UserError, Variables

_ROWS = 256  # rows in one compiled call, at most; the last one is padded


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
    return Trained(
        model=model, variables=variables, config=run["config"], step=found, workdir=Path(workdir)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(reporting.Reporting):
    """A trained model.

    Batches are either ``{"x": {...}, "present": {...}}`` or plain dictionaries of NumPy arrays by
    modality, images uint8, where missing modalities are left out, ``<name>__present`` (bool) marks
    rows that lack one, and so does a row of floats that is NaN throughout.

    Attributes:
      model: the model, for everything that this class does not do.
      variables: its Flax collections.
      config: the run's config as plain values.
      step: the training step of the variables.
      workdir: the run's folder.
    """

    model: models.MultimodalVAE
    variables: Variables
    config: Mapping[str, Any]
    step: int
    workdir: Path

    def encode(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Embeddings: ``shared`` [B, D] and ``private/<name>`` [B, W], posterior means.

        Private codes of absent modalities are 0, the mean of their prior.
        """
        call = self._jitted("embed", lambda v, rng, x: self.model.embed(v, x))
        batch = self._items(batch).batch
        return self._over_rows(batch, lambda rows, key: call(self.variables, key, rows), 0)

    def generate(self, n: int, *, seed: int = 0, private_scale: float = 1.0) -> dict[str, Any]:
        """``n`` items drawn from the prior, {name: [n, *shape]} in the stored dtype."""
        _at_least_one("n", n)
        size = self._rows_at_once
        call = self._jitted(
            f"generate{size}", lambda v, rng, scale: self.model.generate(v, rng, size, scale)
        )
        parts = [
            jax.device_get(call(self.variables, _key(seed, start), jnp.float32(private_scale)))
            for start in range(0, n, size)
        ]
        joined = jax.tree.map(lambda *rows: np.concatenate(rows)[:n], *parts)
        return {spec.name: as_data(joined[spec.name], spec) for spec in self.model.specs}

    def impute(
        self, batch: Mapping[str, Any], num_samples: int = 16, *, seed: int = 0, draws: int = 0
    ) -> dict[str, np.ndarray]:
        """Fills in what is missing.

        Args:
          batch: items, see the class.
          num_samples: draws; a filled-in number is the mean of what they are decoded to, a class,
            token or boolean the most probable.
          seed: of the draws.
          draws: how many of them to give, too.

        Returns:
          {name: [B, *shape]} of every modality, in the type and shape that it came in, observed
          numbers untouched. With ``draws`` also ``<name>__draws`` [B, draws, *shape], draws of data
          (of images their means, without the noise of pixels), and ``<name>__spread`` [B, *shape],
          the standard deviation of all draws, or of classes and booleans ``<name>__probability``
          [B, *shape (, classes)]; these of every row, observed or not.
        """
        if not 0 <= draws <= num_samples:
            raise UserError(f"draws = {draws}: must be from 0 to num_samples = {num_samples}")
        items = self._items(batch)
        chunk = self._draws_at_once(num_samples)
        call = self._jitted(f"draw{chunk}{draws > 0}", functools.partial(self._draw, chunk, draws))

        def summary(rows: Batch, key: Any) -> dict[str, Any]:
            parts = [jax.device_get(p) for p in self._in_chunks(call, rows, key, num_samples)]
            found: dict[str, Any] = {}
            for name in self.model.names:
                found |= _summary([part[name] for part in parts], name, num_samples, draws)
            return found

        found = self._over_rows(items.batch, summary, seed)
        filled = {}
        for spec in self.model.specs:
            name, means = spec.name, found[f"mean/{spec.name}"]
            filled[name] = items.filled(spec, means)
            if draws:
                drawn, is_bytes = found[f"draws/{name}"], spec.dtype == "uint8"
                drawn = as_data(drawn, spec) if is_bytes else drawn.astype(spec.dtype)
                filled[f"{name}__draws"] = drawn
                if spec.num_classes or spec.dtype == "bool":
                    filled[f"{name}__probability"] = means
                else:
                    unit = np.float32(255 if is_bytes else 1)
                    filled[f"{name}__spread"] = unit * found[f"spread/{name}"]
        return filled

    def _draw(
        self, chunk: int, draws: int, variables: Variables, rng: Any, rows: Batch, used: Any
    ) -> dict[str, Any]:
        """Of each modality the sum of the first ``used`` of ``chunk`` decoder means, and draws."""
        shared, private = self.model.sample_posterior(variables, rng, rows, None, chunk)
        decoded = self.model.decode(variables, shared, private)
        found = {}
        for index, spec in enumerate(self.model.specs):
            likelihood, parameters = self.model.likelihood(spec), decoded[spec.name]
            mean = likelihood.mean(parameters)
            total = jnp.where(_column(jnp.arange(chunk) < used, mean.ndim), mean, 0.0).sum(0)
            drawn = mean
            if not spec.is_grid:
                key = jax.random.fold_in(rng, len(self.model.specs) + 1 + index)
                drawn = likelihood.sample(parameters, key)
            found[spec.name] = (total, drawn if draws else ())
        return found

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
        batch = self._items(batch).batch
        joint = self._log_marginal(batch, (*given, *of), num_samples, seed)
        if not given:
            return joint
        return joint - self._log_marginal(batch, tuple(given), num_samples, seed)

    def _log_marginal(
        self, batch: Batch, names: tuple[str, ...], num_samples: int, seed: int
    ) -> np.ndarray:
        chunk = self._draws_at_once(num_samples)

        def draw(variables: Variables, rng: Any, rows: Batch, used: Any) -> Any:
            log_w = self.model.log_weights(variables, rng, rows, names, (), chunk)
            return objectives.summarize_weights(log_w, jnp.arange(chunk) < used)

        call = self._jitted(f"log_marginal{chunk}{names}", draw)
        merge = self._jitted("merge", objectives.merge_summaries)

        def marginal(rows: Batch, key: Any) -> dict[str, Any]:
            parts = self._in_chunks(call, rows, key, num_samples)
            return {"log_p": functools.reduce(merge, parts).log_mean}

        return self._over_rows(batch, marginal, seed)["log_p"]

    # --- plumbing -----------------------------------------------------------------------------

    @functools.cached_property
    def _programs(self) -> dict[str, Callable[..., Any]]:
        return {}

    def _jitted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return self._programs.setdefault(name, jax.jit(function))

    @property
    def _rows_at_once(self) -> int:
        """Rows in one compiled call: fewer where items are so large that one draw each is much."""
        return min(_ROWS, models.codes_at_once(self.model.specs))

    def _draws_at_once(self, num_samples: int) -> int:
        """Draws of every row in one compiled call."""
        _at_least_one("num_samples", num_samples)
        return min(num_samples, models.codes_at_once(self.model.specs) // self._rows_at_once)

    def _in_chunks(
        self, call: Callable[..., Any], rows: Batch, key: Any, num_samples: int
    ) -> Iterator[Any]:
        """Calls with `_draws_at_once`; of the last one only so many count as are left."""
        chunk = self._draws_at_once(num_samples)
        for place, start in enumerate(range(0, num_samples, chunk)):
            used = np.int32(min(chunk, num_samples - start))
            yield call(self.variables, jax.random.fold_in(key, place), rows, used)

    def _items(self, batch: Mapping[str, Any] | data.Items) -> data.Items:
        if isinstance(batch, data.Items):
            return batch
        nan = self.config["data"].get("nan", "error")
        if isinstance(batch.get("x"), Mapping):
            marks = {name + PRESENT: here for name, here in batch.get("present", {}).items()}
            batch = {**batch["x"], **marks}
        return from_arrays(batch, self.model.specs, nan=nan)

    def _over_rows(
        self, batch: Batch, call: Callable[[Batch, Any], Any], seed: int
    ) -> dict[str, np.ndarray]:
        """Applies ``call(rows, key)`` to padded slices and joins the results without padding."""
        size = len(next(iter(batch["x"].values())))
        stored = {"x": batch["x"], "present": batch["present"]}
        parts = []
        for start, rows in _slices(stored, size, self._rows_at_once):
            parts.append(jax.device_get(call(models.prepare(rows), _key(seed, start))))
        return jax.tree.map(lambda *rows: np.concatenate(rows)[:size], *parts)


def _summary(
    parts: Iterable[tuple[Any, Any]], name: str, num_samples: int, keep: int
) -> dict[str, np.ndarray]:
    """What draws of one modality come to: ``mean/``, and of data ``draws/`` and ``spread/``.

    Args:
      parts: sums of decoder means [B, ...] and draws of data [k, B, ...], ``num_samples``
        altogether; the last ones of the last part do not count.
      name: the modality.
      num_samples: how many draws count.
      keep: how many of the draws of data to give; with 0 there are none.
    """
    total, kept, seen = 0.0, [], 0
    origin = first = second = 0.0  # moments about the first draw: far from 0 they would cancel
    for added, drawn in parts:
        total = total + added
        if keep:
            drawn = np.asarray(drawn[: num_samples - seen], np.float64)
            origin = drawn[:1] if not seen else origin
            first = first + (drawn - origin).sum(0)
            second = second + ((drawn - origin) ** 2).sum(0)
            kept.append(drawn[: max(0, keep - seen)])
            seen += len(drawn)
    found = {f"mean/{name}": total / np.float32(num_samples)}
    if keep:
        variance = second / num_samples - (first / num_samples) ** 2
        found[f"spread/{name}"] = np.sqrt(np.maximum(variance, 0.0)).astype(np.float32)
        found[f"draws/{name}"] = np.moveaxis(np.concatenate(kept), 0, 1)
    return found


def _slices(batch: Any, size: int, count: int) -> Iterator[tuple[int, Any]]:
    """Slices of ``count`` of the ``size`` rows, the last one filled up by repeating its last."""
    for start in range(0, size, count):
        rows = np.minimum(np.arange(start, start + count), size - 1)
        yield start, jax.tree.map(lambda array, rows=rows: np.asarray(array)[rows], batch)


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{name} = {value}: must be at least 1")


def _key(seed: int, start: int) -> Any:
    return jax.random.fold_in(jax.random.key(seed), start)


def _column(mask: Any, ndim: int) -> Any:
    return mask.reshape(mask.shape + (1,) * (ndim - 1))
