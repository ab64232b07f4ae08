"""The order of training: which examples each step sees, from (seed, step) alone.

Nothing is remembered between calls, so a resumed run, a run in other chunks and a run on
another number of processes all see the same batches.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping

import numpy as np


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Number of batches in an epoch: full batches only, and at least one.

    Raises:
      ValueError: either number is below 1.
    """
    if num_examples < 1 or batch_size < 1:
        raise ValueError(f"{num_examples} examples in batches of {batch_size}: both must be >= 1")
    return max(1, num_examples // batch_size)


def batch_indices(
    seed: int, start_step: int, num_steps: int, *, num_examples: int, batch_size: int
) -> np.ndarray:
    """Row numbers of the batches of steps `start_step` to `start_step + num_steps - 1`.

    Each epoch is a fresh permutation of the examples; what is left over after its last full
    batch is dropped. Fewer examples than one batch: the epoch is one batch, padded with -1
    (`contract.take` gives such rows weight 0).

    Returns:
      int32 ``[num_steps, batch_size]``.
    """
    if seed < 0 or start_step < 0 or num_steps < 0:
        raise ValueError(f"seed {seed}, step {start_step}, {num_steps} steps: none may be negative")
    per_epoch = steps_per_epoch(num_examples, batch_size)
    indices = np.empty((num_steps, batch_size), np.int32)
    step, end = start_step, start_step + num_steps
    while step < end:
        epoch, first = divmod(step, per_epoch)
        count = min(per_epoch - first, end - step)
        batches = _epoch(seed, epoch, num_examples, batch_size)
        indices[step - start_step : step - start_step + count] = batches[first : first + count]
        step += count
    return indices


def mixed_batch_indices(
    seed: int,
    start_step: int,
    num_steps: int,
    groups: Mapping[str, tuple[np.ndarray, int]],
) -> np.ndarray:
    """Row numbers of batches that hold so many rows of each group, for the same steps.

    Each group runs through permutations of its rows, one after the other and without regard to
    batches, epochs or the other groups: after n steps each of its rows was drawn as often as any
    other, give or take one. A group smaller than its share of a batch is in it several times.

    Args:
      seed: decides the permutations.
      start_step: first step.
      num_steps: number of steps.
      groups: row numbers of each group, and how many of them a batch holds.

    Returns:
      int32 ``[num_steps, batch_size]``; groups stand in the order of their names.
    """
    if seed < 0 or start_step < 0 or num_steps < 0:
        raise ValueError(f"seed {seed}, step {start_step}, {num_steps} steps: none may be negative")
    parts = [np.empty((num_steps, 0), np.int32)]
    for name, (rows, count) in sorted(groups.items()):
        if count and not len(rows):
            raise ValueError(f"group {name!r} has no rows to draw {count} from")
        key = [seed, zlib.crc32(name.encode())]
        drawn = _cycled(key, rows, start_step * count, num_steps * count)
        parts.append(drawn.reshape(num_steps, count))
    return np.concatenate(parts, 1)


def _cycled(key: list[int], rows: np.ndarray, start: int, count: int) -> np.ndarray:
    """Places `start` to `start + count - 1` of endless permutations of `rows`, int32."""
    if not count:
        return np.empty(0, np.int32)
    first, last = start // len(rows), (start + count - 1) // len(rows)
    cycles = [
        np.random.default_rng([*key, cycle]).permutation(rows) for cycle in range(first, last + 1)
    ]
    offset = start - first * len(rows)
    return np.concatenate(cycles)[offset : offset + count].astype(np.int32)


# Kept, since to permute a large set may take longer than the few steps that are asked for at once.
@functools.lru_cache(maxsize=2)
def _epoch(seed: int, epoch: int, num_examples: int, batch_size: int) -> np.ndarray:
    """All batches of one epoch, int32 ``[steps_per_epoch, batch_size]``; not to be changed."""
    order = np.random.default_rng([seed, epoch]).permutation(num_examples).astype(np.int32)
    if num_examples < batch_size:
        return np.pad(order, (0, batch_size - num_examples), constant_values=-1)[None]
    per_epoch = num_examples // batch_size
    return order[: per_epoch * batch_size].reshape(per_epoch, batch_size)
