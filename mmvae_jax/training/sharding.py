"""Where arrays live: one mesh axis `data`, the batch split over it, everything else replicated.

The same code runs on one device, on several, and on several processes; which of these it is shows
only in the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmvae_jax.types import UserError

AXIS = "data"


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of all processes (or the given ones) along the axis `data`."""
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Host arrays, equal in every process, as arrays that every device of the mesh holds whole."""
    target = replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(target, np.asarray(leaf)), tree
    )


def put_batches(
    read: Callable[[tuple[slice, ...]], np.ndarray], shape: tuple[int, ...], mesh: Mesh
) -> jax.Array:
    """Stacked batches [steps, B, ...], their axis B split over the devices.

    Args:
      read: gives a part of the array; it is asked only for those of this process's devices.
      shape: of the whole array.
      mesh: the devices.
    """
    return jax.make_array_from_callback(shape, NamedSharding(mesh, PartitionSpec(None, AXIS)), read)


def split_batch(batch: Any, mesh: Mesh) -> Any:
    """Inside jit: splits the leading (batch) axis of every array over the devices."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), batch)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Refuses a batch that the devices cannot share equally.

    Padding it silently would change the shapes that the noise is drawn in, and with them the
    numbers of the run.
    """
    devices = mesh.size
    if batch_size % devices:
        below, above = batch_size // devices * devices, (batch_size // devices + 1) * devices
        allowed = f"{below} or {above}" if below else f"{above}"
        raise UserError(
            f"batch_size={batch_size} cannot be divided among {devices} devices: use {allowed}"
        )
