"""The command of features as far as it goes without PyTorch."""

from __future__ import annotations

import importlib
import sys

import pytest

from mmvae_jax.types import UserError
from tests.data import fake_captioned as fake

command = importlib.import_module("mmvae_jax.features.__main__")


def refusal(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        command.main(argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_flags_are_named(monkeypatch):
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    usual = ("--dataset=cub", "--weights=w.safetensors")
    assert "did you mean 'cub'" in refusal("--dataset=cubs", "--weights=w.safetensors")
    assert "did you mean 'image-plain'" in refusal(*usual, "--kind=image-plane")
    assert "--weights" in refusal("--dataset=cub")
    assert "--batch_size=0: must be at least 1" in refusal(*usual, "--batch_size=0")
    assert "cub needs data.dir" in refusal(*usual)


def test_without_pytorch_it_says_what_to_install(monkeypatch, tmp_path):
    folder = fake.write_cub(tmp_path / "cub")
    monkeypatch.setitem(sys.modules, "torch", None)
    line = refusal("--dataset=cub", f"--data.dir={folder}", "--weights=w.safetensors")
    assert "pip install -e '.[features]'" in line
