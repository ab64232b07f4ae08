"""Where the files of a dataset are."""

from __future__ import annotations

import os
from pathlib import Path

from mmvae_jax.types import UserError

ENVIRONMENT = "MMVAE_DATA_DIR"


def find(dataset: str, dir: str, usual: str, files: str) -> Path:
    """The folder `dir`, or where it is empty the folder `usual` below $MMVAE_DATA_DIR.

    Args:
      dataset: its name, for messages.
      dir: the option ``data.dir``.
      usual: the dataset's usual name among other datasets; empty: it takes several of those.
      files: what the folder should hold, in words.

    Raises:
      UserError: none is named, or there is none of that name.
    """
    above = os.environ.get(ENVIRONMENT, "")
    if not dir and not above:
        place = f"the folder above {usual}/" if usual else "such a folder"
        raise UserError(
            f"{dataset} needs data.dir, a folder with {files}; or set {ENVIRONMENT} to {place}"
        )
    folder = Path(dir).expanduser() if dir else Path(above).expanduser() / usual
    if not folder.is_dir():
        raise UserError(
            f"{dataset}: there is no folder {folder}; set data.dir to a folder with {files}"
        )
    return folder
