"""Settings of JAX and XLA that must be made before the first array is."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import logging
import os
import platform
import socket
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import jax

from mmvae_jax.types import UserError

_log = logging.getLogger(__name__)

# Convolutions on CPU run 1.5-1.8 times faster without YNNPACK. An unknown XLA flag aborts the
# process, so it is set only where it was tried.
_CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
_CPU_FLAG_TRIED_WITH = ("0.10.2",)


def configure() -> None:
    """Compilation cache and XLA flags; called once, before anything is computed.

    What the user's environment sets (`XLA_FLAGS`, `JAX_COMPILATION_CACHE_DIR`) stands.
    """
    if (
        "XLA_FLAGS" not in os.environ
        and importlib.metadata.version("jaxlib") in _CPU_FLAG_TRIED_WITH
        and _only_cpu()
    ):
        os.environ["XLA_FLAGS"] = _CPU_FLAG
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(_cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def user_cache() -> Path:
    """Where what can be made again is kept between runs: compiled programs, trained judges.

    ``MMVAE_CACHE_DIR``, or ``mmvae_jax`` in ``XDG_CACHE_HOME`` or in ~/.cache; where the user has
    no home directory (as in many containers) a folder in the temporary one.
    """
    own, base = os.environ.get("MMVAE_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    try:
        return Path(base or Path.home() / ".cache") / "mmvae_jax"
    except RuntimeError:
        return _temporary_cache()


@functools.cache
def _temporary_cache() -> Path:
    """``mmvae_jax-<user id>`` in the temporary folder, or a new one where that is not ours alone.

    What lies in it is run: a folder that others can write, or made for us, will not do.
    """
    user = getattr(os, "getuid", lambda: 0)()  # Windows gives each user a temporary folder
    folder = Path(tempfile.gettempdir()) / f"mmvae_jax-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError:
        ours = False
    else:
        private = os.name == "nt" or not about.st_mode & 0o077
        ours = stat.S_ISDIR(about.st_mode) and about.st_uid == user and private
    folder = folder if ours else Path(tempfile.mkdtemp(prefix="mmvae_jax-"))
    _log.warning(
        "there is no home directory: compiled programs and classifiers are kept in %s; "
        "MMVAE_CACHE_DIR names another folder",
        folder,
    )
    return folder


def hardware() -> dict[str, str]:
    """What the run has to compute with, in words."""
    devices = jax.devices()
    kinds = ", ".join(dict.fromkeys(device.device_kind for device in devices))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "devices": f"{len(devices)} x {kinds} ({devices[0].platform})",
        "processes": str(jax.process_count()),
        "processor": f"{_processor()}, {cores} cores to this process",
        "system": platform.platform(terse=True),
    }


def _processor() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def initialize_distributed(
    coordinator_address: str | None,
    num_processes: int | None,
    process_id: int | None,
    *,
    timeout: float = 120.0,
) -> None:
    """Joins this process to the others of a run; does nothing for a single process.

    Args:
      coordinator_address: "host:port" of process 0; "auto" where JAX finds the others by itself
        (TPU pods, SLURM); empty or None for a single process.
      num_processes: how many there are.
      process_id: which of them this is, from 0.
      timeout: seconds to wait for the others.

    Raises:
      UserError: the three do not fit together, or the coordinator cannot be reached.
    """
    if not coordinator_address:
        if num_processes is not None and num_processes > 1:
            raise UserError(
                f"--num_processes={num_processes} needs --coordinator_address=HOST:PORT"
            )
        return
    # CPU devices of several processes can exchange nothing without it.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if coordinator_address == "auto":
        options: dict[str, Any] = {}
    else:
        _check_address(coordinator_address, num_processes, process_id)
        if process_id:
            # JAX would abort the whole process when nobody answers.
            _wait_for(coordinator_address, timeout)
        options = {
            "coordinator_address": coordinator_address,
            "num_processes": num_processes,
            "process_id": process_id,
        }
    if "shutdown_timeout_seconds" in inspect.signature(jax.distributed.initialize).parameters:
        # A process that is done waits for the others, and the first one may evaluate for long.
        options["shutdown_timeout_seconds"] = 24 * 3600
    try:
        jax.distributed.initialize(initialization_timeout=int(timeout), **options)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"process {process_id} of {num_processes} could not join the run at "
            f"{coordinator_address} within {timeout:g} s: {reason}"
        ) from error


def leave(status: int) -> NoReturn:
    """Ends the process after an error.

    One of several processes must not end by `sys.exit`: at its exit JAX would wait for the others,
    which wait for it.
    """
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _check_address(address: str, num_processes: int | None, process_id: int | None) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--coordinator_address={address} is not HOST:PORT, such as 10.0.0.1:1234")
    if num_processes is None or num_processes < 1:
        raise UserError(f"--num_processes={num_processes} must be at least 1")
    if process_id is None or not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id} must be from 0 to {num_processes - 1}")


def _wait_for(address: str, timeout: float) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"nobody answers at --coordinator_address={address} after {timeout:g} s "
                    f"({error}): start process 0 there, and check the port"
                ) from error
        time.sleep(0.2)


def _only_cpu() -> bool:
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return True
    installed = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    accelerators = ("libtpu", "jax-cuda", "jax-rocm", "jax-metal")
    return not any(name.startswith(accelerators) for name in installed)


def _cache_folder() -> Path:
    """A folder per kind of processor: compiled CPU code need not run on another kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    kind = hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]
    return user_cache() / "xla" / kind
