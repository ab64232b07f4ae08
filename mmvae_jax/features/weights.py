"""Trained weights from local files: safetensors, or tensors that PyTorch saved. Nothing is run."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch

from mmvae_jax.types import UserError

_PYTORCH = (".bin", ".pt", ".pth")
_FORMATS = f".safetensors, or {', '.join(_PYTORCH)} of PyTorch"

State = dict[str, torch.Tensor]


def read(path: Path) -> State:
    """The tensors of a file by name; of a PyTorch file only those: code in it is refused.

    Raises:
      UserError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f"--weights: there is no file {path} ({_FORMATS})")
    if path.suffix not in (".safetensors", *_PYTORCH):
        raise UserError(f"--weights={path}: must end in {_FORMATS}")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise nearly anything
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"--weights={path} cannot be read as tensors alone (truncated, or a file that would "
            f"run code, which is not loaded): {said}"
        ) from error
    plain = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    )
    if not plain or not state:
        raise UserError(f"--weights={path} must hold tensors by name, a state_dict")
    return dict(state)


def load_into(network: torch.nn.Module, state: State, path: Path, what: str) -> None:
    """Gives a network its weights; what the state has beyond them is left out.

    Args:
      network: of torch.
      state: from `read`, with the network's own names.
      path: where it is from, for messages.
      what: the network in words.

    Raises:
      UserError: weights are missing, or have other sizes.
    """
    try:
        missing = network.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"--weights={path} do not fit {what}: {said}") from error
    # How many batches there were is only for training.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise UserError(
            f"--weights={path} lack {missing[0]} ({len(missing)} tensors) of {what}: these are the "
            "weights of another network, or not all of them"
        )
