"""What BERT makes of captions: a vector for each token, or their mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import BertConfig, BertModel

from mmvae_jax.features import weights
from mmvae_jax.types import UserError

LENGTH = 30  # tokens, with those that mark the beginning and the end
FILES = ("model.safetensors", "pytorch_model.bin")


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenBert:
    """BERT with its tokenizer.

    Attributes:
      network: in evaluation mode.
      tokenizer: cuts off and fills up to `LENGTH` tokens.
      pool: ``tokens`` or ``mean``.
      name: what it is.
    """

    network: BertModel
    tokenizer: BertWordPieceTokenizer | Tokenizer
    pool: str
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the features of one caption."""
        size = self.network.config.hidden_size
        return (size,) if self.pool == "mean" else (LENGTH, size)

    @torch.inference_mode()
    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Features float32 ``[n, *shape]``: the last layer's, 0 behind a caption's last token."""
        device = next(self.network.parameters()).device
        found = self.tokenizer.encode_batch(list(captions))
        ids = torch.tensor([text.ids for text in found], device=device)
        mask = torch.tensor([text.attention_mask for text in found], device=device)
        x = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        there = mask[:, :, None].to(x.dtype)
        x = x * there
        x = x.sum(1) / there.sum(1) if self.pool == "mean" else x
        return x.float().cpu().numpy()


def load(folder: Path, *, pool: str, device: str) -> FrozenBert:
    """BERT from a folder of transformers: config.json, vocab.txt or tokenizer.json, and weights.

    Raises:
      UserError: a file is missing, damaged or of another network.
    """
    path = weights_in(folder)
    try:
        config = BertConfig.from_json_file(str(folder / "config.json"))
        network = BertModel(config, add_pooling_layer=False)
    except Exception as error:  # whatever is wrong with its values
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{folder / 'config.json'} does not describe a BERT: {said}") from error
    state = {_own_name(name): tensor for name, tensor in weights.read(path).items()}
    weights.load_into(network, state, path, "a BERT of its config.json")
    tokenizer = _tokenizer(folder)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.get_vocab_size():,} tokens, config.json "
            f"{config.vocab_size:,}: files of different networks"
        )
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=config.pad_token_id or 0)
    name = f"BERT of {config.num_hidden_layers} layers"
    return FrozenBert(network.eval().to(device), tokenizer, pool, name)


def weights_in(folder: Path) -> Path:
    """The file of weights in such a folder.

    Raises:
      UserError: it lacks a file that is needed.
    """
    for wanted in (("config.json",), FILES, ("tokenizer.json", "vocab.txt")):
        if not any((folder / name).is_file() for name in wanted):
            raise UserError(
                f"--weights={folder} must be a folder with config.json, vocab.txt (or "
                f"tokenizer.json) and {' or '.join(FILES)}, as bert-base-uncased has them: there "
                f"is no {' or '.join(wanted)}"
            )
    return next(folder / name for name in FILES if (folder / name).is_file())


def _own_name(name: str) -> str:
    """A tensor's name in `BertModel`: published weights have a head beside it, and older names."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def _tokenizer(folder: Path) -> BertWordPieceTokenizer | Tokenizer:
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            found = Tokenizer.from_file(str(path))
        else:
            path = folder / "vocab.txt"
            found = BertWordPieceTokenizer(str(path), lowercase=True)
    except Exception as error:  # the library's own error is a plain Exception
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} cannot be read as a tokenizer: {said}") from error
    if found.token_to_id("[UNK]") is None:
        raise UserError(f"{path} has no token [UNK]: not BERT's, or truncated")
    return found
