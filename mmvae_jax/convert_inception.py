"""Makes the file that FID and KID need: ``python -m mmvae_jax.convert_inception IN.pth OUT``.

IN.pth is the published checkpoint pt_inception-2015-12-05 of the PyTorch port of FID, which nothing
here downloads; OUT.safetensors is what ``config.evaluation.inception`` names. Needs PyTorch, once:
``pip install -e '.[inception]'``.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvae_jax import entry_point
from mmvae_jax.evaluation import inception_weights
from mmvae_jax.run_files import write_atomically
from mmvae_jax.types import UserError

# The name of the published file ends with the first digits of its hash.
_PUBLISHED = "6726825d"


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = entry_point.Parser(
        prog="python -m mmvae_jax.convert_inception", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("checkpoint", metavar="IN.pth", type=Path, help="The published checkpoint.")
    parser.add_argument("output", metavar="OUT.safetensors", type=Path, help="File to write.")
    parser.add_argument("--overwrite", action="store_true", help="Replace a file that exists.")
    arguments = parser.parse_args(argv)
    if arguments.output.suffix != ".safetensors":
        raise UserError(f"{arguments.output}: the output must end with .safetensors")
    if arguments.output.exists() and not arguments.overwrite:
        raise UserError(f"{arguments.output} exists: choose another name, or add --overwrite")
    return arguments


def main(argv: Sequence[str]) -> None:
    """Converts the checkpoint of a command line."""
    arguments = _arguments(argv)
    source, output = arguments.checkpoint, arguments.output
    tensors = {name: np.asarray(value.numpy()) for name, value in _load(source).items()}
    shapes = {name: value.shape for name, value in tensors.items()}
    inception_weights.check(shapes, source, inception_weights.NETWORK)
    tensors = {
        name: np.ascontiguousarray(tensors[name], np.float32)
        for name in inception_weights.tensor_shapes(inception_weights.NETWORK)
    }
    inception_weights.folded(tensors, source)  # raises where a number is not one
    digest = _hash(source)

    from safetensors.numpy import save

    try:
        write_atomically(output, save(tensors, metadata={inception_weights.ORIGIN: digest}))
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror})") from error
    known = "the published checkpoint" if digest.startswith(_PUBLISHED) else "NOT the published one"
    print(f"wrote {output} from {source} (SHA-256 {digest[:8]}..., {known})")


def _load(path: Path) -> Mapping[str, Any]:
    """The tensors of a .pth by name; nothing else that it may hold is unpickled."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            "reading a .pth needs PyTorch: pip install -e '.[inception]', or run this command "
            "where it is installed and copy the result"
        ) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged or holds more than tensors ({reason})") from error
    if not isinstance(found, Mapping) or not all(
        hasattr(value, "numpy") for value in found.values()
    ):
        raise UserError(f"{path} is not a mapping of names to tensors")
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run() -> None:
    """Entry point: exit status 2 and one line on bad input."""
    with entry_point.one_line_errors():
        main(sys.argv[1:])


if __name__ == "__main__":
    run()
