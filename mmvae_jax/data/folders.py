"""Where the files of a dataset are, and the texts among them."""

from __future__ import annotations

import os
from pathlib import Path

from mmvae_jax.types import UserError

ENVIRONMENT = "MMVAE_DATA_DIR"
_OWN = "mmvae_jax"  # below the user's data folder


class MissingFiles(UserError):
    """Files are not where they are looked for; such may be downloaded, damaged ones never are.

    Attributes:
      folder: the dataset's folder, perhaps one that is not there, either; None: no place is known.
    """

    def __init__(self, folder: Path | None, message: str) -> None:
        super().__init__(message)
        self.folder = folder


def find(dataset: str, dir: str, usual: str, files: str) -> Path:
    """The folder `dir`, or where it is empty the folder `usual` below one that is known.

    That is the one which $MMVAE_DATA_DIR names, else the user's own (see `own`).

    Args:
      dataset: its name, for messages.
      dir: the option ``data.dir``.
      usual: the dataset's usual name among other datasets; empty: it takes several of those.
      files: what the folder should hold, in words.

    Raises:
      MissingFiles: there is no such folder.
    """
    above = os.environ.get(ENVIRONMENT, "")
    if dir or above:
        folder = Path(dir).expanduser() if dir else Path(above).expanduser() / usual
    else:
        folder = own()
        folder = folder / usual if folder else None
    if folder and folder.is_dir():
        return folder
    if not dir and not above:
        place = f"the folder above {usual}/" if usual else "such a folder"
        raise MissingFiles(
            folder,
            f"{dataset} needs data.dir, a folder with {files}; or set {ENVIRONMENT} to {place}",
        )
    raise MissingFiles(
        folder, f"{dataset}: there is no folder {folder}; set data.dir to a folder with {files}"
    )


def own() -> Path | None:
    """``mmvae_jax`` in the user's data folder ($XDG_DATA_HOME, else ~/.local/share), or None."""
    home = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(home):
        home = os.path.expanduser(os.path.join("~", ".local", "share"))
    return Path(home, _OWN) if os.path.isabs(home) else None


def read_text(path: Path, remedy: str) -> str:
    """A text in UTF-8, whole.

    Raises:
      UserError: it cannot be read, or it is no such text; then with ``remedy``, what to do.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no text in UTF-8, at byte {error.start:,}: damaged; {remedy}"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
