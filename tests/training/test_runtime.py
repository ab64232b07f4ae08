from __future__ import annotations

import importlib.metadata
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mmvae_jax.training import initialize_distributed, runtime
from mmvae_jax.types import UserError

PROGRAM = """
import os
from mmvae_jax.training import runtime
runtime.configure()
import jax, jax.numpy as jnp
assert float(jax.jit(lambda x: x + 1)(jnp.float32(1))) == 2.0
print(os.environ.get("XLA_FLAGS"), jax.config.jax_compilation_cache_dir)
"""


def _configured(**environment):
    hidden = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "MMVAE_CACHE_DIR")
    kept = {k: v for k, v in os.environ.items() if k not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


def test_configure_sets_the_cache_and_the_flag_that_was_tried(tmp_path):
    flags, cache = _configured(XDG_CACHE_HOME=str(tmp_path))
    tried = importlib.metadata.version("jaxlib") in runtime._CPU_FLAG_TRIED_WITH
    assert flags == (runtime._CPU_FLAG if tried else "None")
    assert cache.startswith(str(tmp_path / "mmvae_jax" / "xla"))
    assert any((tmp_path / "mmvae_jax" / "xla").rglob("*-cache"))  # Even the smallest program.


def test_the_cache_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("MMVAE_CACHE_DIR", str(tmp_path / "mine"))
    assert runtime.user_cache() == tmp_path / "mine"
    monkeypatch.delenv("MMVAE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert runtime.user_cache() == tmp_path / "mmvae_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert runtime.user_cache() == tmp_path / "home" / ".cache" / "mmvae_jax"


def test_without_a_home_directory_the_cache_is_a_private_temporary_folder(
    monkeypatch, tmp_path, caplog
):
    def unknown(user):
        raise KeyError(user)

    for name in ("MMVAE_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RuntimeError):
        Path.home()

    def found():
        runtime._temporary_cache.cache_clear()
        return runtime.user_cache()

    try:
        folder = found()
        assert folder == tmp_path / f"mmvae_jax-{os.getuid()}"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert str(folder) in caplog.text and "MMVAE_CACHE_DIR" in caplog.text
        assert found() == folder
        assert runtime._cache_folder().is_relative_to(folder)
        # Not where others can write, nor where somebody else has led us.
        folder.chmod(0o777)
        other = found()
        assert other.parent == tmp_path and other != folder
        assert other.stat().st_mode & 0o777 == 0o700
        folder.rmdir()
        folder.symlink_to(other)
        assert found() not in (folder, other)
    finally:
        runtime._temporary_cache.cache_clear()


def test_configure_lets_the_users_settings_stand(tmp_path):
    flags = "--xla_force_host_platform_device_count=2"
    shown = _configured(XLA_FLAGS=flags, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
    assert shown == [flags, str(tmp_path / "mine")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 2, 0), "--num_processes=2 needs --coordinator_address"),
        (("127.0.0.1", 2, 0), "is not HOST:PORT"),
        (("127.0.0.1:1", 0, 0), "--num_processes=0"),
        (("127.0.0.1:1", 2, 2), "--process_id=2 must be from 0 to 1"),
        (("127.0.0.1:1", 2, None), "--process_id=None"),
    ],
)
def test_flags_that_do_not_fit_together(arguments, message):
    with pytest.raises(UserError, match=message):
        initialize_distributed(*arguments)


def test_one_process_needs_nothing():
    initialize_distributed("", 0, 0)
    initialize_distributed(None, None, None)


def test_an_absent_coordinator_is_one_line():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UserError, match=f"nobody answers at --coordinator_address={address}"):
        initialize_distributed(address, 2, 1, timeout=0.5)
