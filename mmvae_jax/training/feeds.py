"""Where the batches of training come from: rows on the devices, or rows read while steps run.

Either way step i sees the rows that `Plan.indices` names, in the form in which they are stored, so
that both give the same run.
"""

from __future__ import annotations

import abc
import contextlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mmvae_jax import data
from mmvae_jax.training import sharding
from mmvae_jax.training.plan import Plan
from mmvae_jax.types import Array, Batch

ROADS = ("auto", "device", "host")

_SHARE = 0.3  # of a device's memory that the training split may take
_PIECE_BYTES = 2**24  # read and sent at once
_PIECES_AHEAD = 2

_log = logging.getLogger(__name__)


class Piece(NamedTuple):
    """What the batches of the next `num_steps` steps are taken from: arrays on the devices."""

    inputs: Any
    num_steps: int


class Feed(abc.ABC):
    """Gives the batches of any steps.

    Attributes:
      seconds_waiting: how long whoever asked has waited. As steps are dispatched ahead of time, the
        devices waited for no longer than that.
    """

    def __init__(self) -> None:
        self.seconds_waiting = 0.0

    @abc.abstractmethod
    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """What steps start..stop-1 need, in order; all pieces of a feed have the same shapes."""

    @staticmethod
    @abc.abstractmethod
    def batch(inputs: Any, index: Array) -> Batch:
        """The stored batch of the index-th step of a piece; inside jit."""

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds_waiting += time.monotonic() - began


class DeviceFeed(Feed):
    """The whole split lies on every device, and steps are given row numbers."""

    def __init__(self, split: data.Split, plan: Plan, mesh: Mesh) -> None:
        super().__init__()
        self._plan, self._mesh = plan, mesh
        self._columns = sharding.put_replicated(_columns(split), mesh)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """One piece."""
        with self._waiting():
            indices = sharding.put_replicated(self._plan.indices(start, stop), self._mesh)
        yield Piece((self._columns, indices), stop - start)

    @staticmethod
    def batch(inputs: Any, index: Array) -> Batch:
        """Gathers the rows."""
        columns, indices = inputs
        return take(columns, indices[index])


class HostFeed(Feed):
    """The split stays where it is, perhaps in files; a thread reads and sends batches ahead.

    Each process reads only the rows of its own devices. Up to three pieces are in memory beside the
    one in use.
    """

    def __init__(self, split: data.Split, plan: Plan, mesh: Mesh) -> None:
        super().__init__()
        self._columns, self._plan, self._mesh = _columns(split), plan, mesh
        bytes_per_step = max(1, split.nbytes * plan.batch_size // len(split))
        most = max(1, _PIECE_BYTES // bytes_per_step)
        # As equal parts of a whole chunk, so that little of a piece stays empty.
        self._steps = -(-plan.log_every // -(-plan.log_every // most))
        self._reader = ThreadPoolExecutor(1, "mmvae_jax-reader")
        self._ahead: dict[tuple[int, int], Future[Any]] = {}

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """As many as it takes; those of the next chunk are begun, too."""
        while start < stop:
            end = min(start + self._steps, stop)
            wanted = self._ahead.pop((start, end), None) or self._begin(start, end)
            self._look_ahead(end)
            with self._waiting():
                inputs = wanted.result()
            yield Piece(inputs, end - start)
            start = end

    @staticmethod
    def batch(inputs: Any, index: Array) -> Batch:
        """Picks one of the batches."""
        return jax.tree.map(lambda batches: batches[index], inputs)

    def _look_ahead(self, start: int) -> None:
        """Begins what will be asked for next, if steps are made in the order of the plan."""
        begun, self._ahead = self._ahead, {}
        for _ in range(_PIECES_AHEAD):
            if start >= self._plan.total_steps:
                break
            end = min(start + self._steps, self._plan.chunk_end(start))
            self._ahead[start, end] = begun.get((start, end)) or self._begin(start, end)
            start = end

    def _begin(self, start: int, stop: int) -> Future[Any]:
        return self._reader.submit(self._read, start, stop)

    def _read(self, start: int, stop: int) -> dict[str, Any]:
        """The batches [steps, B, ...] of these steps; what is beyond `stop` is padding."""
        indices = self._plan.indices(start, stop)[: self._steps]
        rows = np.maximum(indices, 0)

        def put(values: Any) -> Array:
            shape = (*indices.shape, *values.shape[1:])
            return sharding.put_batches(lambda part: values[rows[part[:2]]], shape, self._mesh)

        weight = (indices >= 0).astype(np.float32)
        weights = sharding.put_batches(weight.__getitem__, weight.shape, self._mesh)
        return {**jax.tree.map(put, self._columns), "weight": weights}


def take(columns: dict[str, Any], indices: Array) -> Batch:
    """Rows of the split on the device as a batch; -1 is padding: row 0 with weight 0."""
    rows = jnp.maximum(indices, 0)
    batch = jax.tree.map(lambda values: values[rows], columns)
    return {**batch, "weight": (indices >= 0).astype(jnp.float32)}


def make(road: str, split: data.Split, plan: Plan, mesh: Mesh) -> Feed:
    """The feed for a split; the log says which, and why.

    Args:
      road: ``device`` or ``host``; ``auto`` is ``device`` while the split takes at most 30 % of the
        memory of a device (on CPU: of what is free of the machine's), in the first process.
      split: the training rows.
      plan: names the rows of each step.
      mesh: the devices.
    """
    reason = "config.training.data"
    if road == "auto":
        memory = _memory(mesh)
        fits = memory is None or split.nbytes <= _SHARE * memory
        if jax.process_count() > 1:  # all must go the same way
            fits = bool(multihost_utils.broadcast_one_to_all(np.int32(fits)))
        road = "device" if fits else "host"
        reason = "how much memory it has is not known"
        if memory is not None:
            share = split.nbytes / max(memory, 1)
            reason = f"{share:.1%} of its memory, of which {_SHARE:.0%} may be taken"
    size = f"training data: {split.nbytes / 1e6:,.1f} MB"
    if road == "device":
        _log.info("%s, on the device (%s)", size, reason)
        return DeviceFeed(split, plan, mesh)
    _log.info("%s, not on the device but read while steps run (%s)", size, reason)
    return HostFeed(split, plan, mesh)


def _columns(split: data.Split) -> dict[str, Any]:
    columns: dict[str, Any] = {"x": dict(split.x), "present": dict(split.present)}
    return columns if split.label is None else {**columns, "label": split.label}


def _memory(mesh: Mesh) -> int | None:
    """Bytes that one device of this process has, on CPU a share of those that are free."""
    devices = mesh.local_devices
    if devices[0].platform == "cpu":
        free = _free_memory()
        return None if free is None else free // len(devices)
    return (devices[0].memory_stats() or {}).get("bytes_limit")


def _free_memory() -> int | None:
    """Bytes that this machine, or the container that this process is in, can still give."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    limits = [free * 1024]
    with contextlib.suppress(OSError, ValueError):  # no such limit, or the word "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(limits)
