"""Starts one run in several processes on this machine, connected over loopback.

    python launch/local.py --num_processes=2 -- --config=configs/mmvae_plus.py --workdir=runs/two

What follows `--` goes to `python -m mmvae_jax.main` in every process; the flags that connect them
are added. This is for trying out and testing what a cluster does: on one machine a single process
uses all devices by itself. The processes run on CPU (`--platform=` leaves the choice to JAX).
Output lines are prefixed with the process; when one process dies, the others are stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import subprocess
import sys
import threading
import time

_SECONDS_TO_STOP = 10.0


def commands(
    num_processes: int, port: int, arguments: list[str], module: str = "mmvae_jax.main"
) -> list[list[str]]:
    """The command of every process."""
    return [
        [
            sys.executable,
            "-m",
            module,
            f"--coordinator_address=127.0.0.1:{port}",
            f"--num_processes={num_processes}",
            f"--process_id={index}",
            *arguments,
        ]
        for index in range(num_processes)
    ]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def run(processes: list[list[str]], platform: str = "cpu") -> int:
    """Runs the commands until all end or one fails; returns the first status that is not 0."""
    environment = {**os.environ, **({"JAX_PLATFORMS": platform} if platform else {})}
    running: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    try:
        for index, command in enumerate(processes):
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            running.append(process)
            readers.append(threading.Thread(target=_copy, args=(index, process), daemon=True))
            readers[-1].start()
        while True:
            states = [process.poll() for process in running]
            failed = [state for state in states if state]
            if failed or None not in states:
                break
            time.sleep(0.1)
    finally:
        _stop(running)
        for reader in readers:
            reader.join(timeout=_SECONDS_TO_STOP)
    # A process that was killed by a signal has a negative status; shells say 128 + signal.
    return next((state if state > 0 else 128 - state for state in failed), 0)


def _copy(index: int, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        print(f"[{index}] {line.rstrip()}", flush=True)


def _stop(processes: list[subprocess.Popen[str]]) -> None:
    left = [process for process in processes if process.poll() is None]
    for process in left:
        process.terminate()
    deadline = time.monotonic() + _SECONDS_TO_STOP
    for process in left:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def split_arguments(argv: list[str]) -> tuple[list[str], list[str]]:
    """What is before the first `--` and what follows it."""
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


def main(argv: list[str] | None = None) -> int:
    """Reads the flags and starts the processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num_processes", type=int, default=2)
    parser.add_argument("--port", type=int, default=0, help="of process 0; 0: a free one")
    parser.add_argument("--platform", default="cpu", help="JAX_PLATFORMS of the processes")
    parser.add_argument("--module", default="mmvae_jax.main", help="what `python -m` runs")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    own, arguments = split_arguments(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(own)
    if options.num_processes < 1:
        parser.error(f"--num_processes={options.num_processes} must be at least 1")
    processes = commands(
        options.num_processes, options.port or free_port(), arguments, options.module
    )
    if options.dry_run:
        prefix = f"JAX_PLATFORMS={shlex.quote(options.platform)} " if options.platform else ""
        print("\n".join(prefix + shlex.join(command) for command in processes))
        return 0
    return run(processes, options.platform)


if __name__ == "__main__":
    sys.exit(main())
