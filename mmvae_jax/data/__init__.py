"""Datasets and batches: `load` builds a `Dataset`, the rest turns its rows into batches."""

from mmvae_jax.data.contract import SPLITS, Dataset, Split, batches, fingerprint, take
from mmvae_jax.data.describe import table
from mmvae_jax.data.items import Items
from mmvae_jax.data.items import read as read_items
from mmvae_jax.data.missingness import groups
from mmvae_jax.data.order import batch_indices, mixed_batch_indices, steps_per_epoch
from mmvae_jax.data.registry import DATASETS, load, option_defaults

__all__ = [
    "DATASETS",
    "SPLITS",
    "Dataset",
    "Items",
    "Split",
    "batch_indices",
    "batches",
    "fingerprint",
    "groups",
    "load",
    "mixed_batch_indices",
    "option_defaults",
    "read_items",
    "steps_per_epoch",
    "table",
    "take",
]
