"""The files of a run: what they are called, how one is read, how one is written.

Knows nothing of JAX, so that a command that only reads runs starts at once.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from mmvae_jax.types import UserError

CONFIG_FILE = "config.json"
RESULTS_FILE = "results.json"


def results_file(split: str) -> str:
    """``results.json`` of the test rows, ``results-validation.json`` of the validation rows."""
    return RESULTS_FILE if split == "test" else f"results-{split}.json"


def read_run(path: str | Path) -> dict[str, Any]:
    """The `config.json` of a workdir.

    Raises:
      UserError: there is none, or it is not JSON.
    """
    file = Path(path) / CONFIG_FILE
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} holds no run: {CONFIG_FILE} cannot be read ({error.strerror}); "
            "train one first, or check the name of the folder"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{file} is damaged ({error}): restore it or use another workdir"
        ) from error
    if not isinstance(run, dict) or not isinstance(run.get("config"), dict):
        raise UserError(f"{file} is not the description of a run: use another workdir")
    return run


def write_atomically(path: str | Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """Writes a file so that a reader, or a kill at any moment, sees the old one or the new one.

    Args:
      path: the file; folders above it are made. Of several writers at once the last one wins.
      content: text (as UTF-8), bytes, or a function that writes to the open file. Where it raises,
        the old file stays and no other is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
