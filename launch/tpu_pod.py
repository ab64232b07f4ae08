"""Creates a TPU pod slice, installs the package on all its workers, runs there, and deletes it.

    python launch/tpu_pod.py create  --name=pod --zone=us-central2-b --type=v4-32
    python launch/tpu_pod.py install --name=pod --zone=us-central2-b --source=https://HOST/REPO.git
    python launch/tpu_pod.py run     --name=pod --zone=us-central2-b -- \
        --config=configs/mmvae_plus.py --workdir=/shared/run
    python launch/tpu_pod.py delete  --name=pod --zone=us-central2-b

`--dry-run` prints the exact commands and runs nothing. What follows `--` goes to
`python -m mmvae_jax.main` on every worker; the workers find each other through the TPU metadata
(`--coordinator_address=auto`). The workdir must be a folder that all workers share, such as an NFS
mount: every worker writes its part of a checkpoint there.

The package needs Python 3.11, which the default image lacks: where the workers have no
`--python` with venv, `install` fetches it from the deadsnakes archive by apt.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys

_FOLDER = "mmvae_jax"


def commands(options: argparse.Namespace, arguments: list[str]) -> list[list[str]]:
    """The gcloud commands of an action, each a list of arguments."""
    place = [f"--zone={options.zone}", *([f"--project={options.project}"] * bool(options.project))]
    tpu_vm = ["gcloud", "compute", "tpus", "tpu-vm"]
    if options.action == "create":
        kind = [f"--accelerator-type={options.type}", f"--version={options.version}"]
        spot = ["--spot"] if options.spot else []
        return [[*tpu_vm, "create", options.name, *place, *kind, *spot]]
    if options.action == "delete":
        return [[*tpu_vm, "delete", options.name, *place, "--quiet"]]
    if options.action == "install":
        remote = install_command(options.source, options.python)
    else:
        remote = run_command(arguments)
    return [[*tpu_vm, "ssh", options.name, *place, "--worker=all", f"--command={remote}"]]


def install_command(source: str, python: str) -> str:
    """The shell command that puts Python, the package and its dependencies on one worker."""
    python = shlex.quote(python)
    # A fresh VM updates itself at its first start; apt waits for that.
    apt = "sudo DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -y"
    return " && ".join(
        [
            # A second installation brings the first one up to date.
            f"if [ -d {_FOLDER}/.git ]; then git -C {_FOLDER} pull --ff-only; "
            f"else git clone {shlex.quote(source)} {_FOLDER}; fi",
            f"cd {_FOLDER}",
            # Ubuntu 22.04, the system of the TPU images, has Python 3.10, and of 3.11 only a
            # release candidate; deadsnakes has the releases. The module ensurepip is what venv
            # needs and what comes with the -venv package.
            f"{{ {python} -m ensurepip --version >/dev/null 2>&1 || "
            f"{{ sudo add-apt-repository -y ppa:deadsnakes/ppa && {apt} update && "
            f"{apt} install {python} {python}-venv; }}; }}",
            f"{python} -m venv .venv",
            ".venv/bin/pip install -c launch/constraints.txt -e '.[tpu]'",
        ]
    )


def run_command(arguments: list[str]) -> str:
    """The shell command that joins one worker to the run."""
    main = [".venv/bin/python", "-m", "mmvae_jax.main", "--coordinator_address=auto"]
    return f"cd {_FOLDER} && {shlex.join([*main, *arguments])}"


def split_arguments(argv: list[str]) -> tuple[list[str], list[str]]:
    """What is before the first `--` and what follows it."""
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


def main(argv: list[str] | None = None) -> int:
    """Reads the flags and runs, or prints, the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("create", "install", "run", "delete"))
    parser.add_argument("--name", required=True, help="of the TPU VM")
    parser.add_argument("--zone", required=True)
    parser.add_argument("--project", default="")
    parser.add_argument("--type", default="v4-32", help="accelerator type (create)")
    parser.add_argument("--version", default="tpu-ubuntu2204-base", help="VM image (create)")
    parser.add_argument("--spot", action="store_true", help="cheaper, may be taken away (create)")
    parser.add_argument("--source", default="", help="git address of this repository (install)")
    parser.add_argument(
        "--python", default="python3.11", help="3.11 or newer, on the workers (install)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    own, arguments = split_arguments(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(own)
    if options.action == "install" and not options.source:
        parser.error("install needs --source")
    if options.action != "run" and arguments:
        parser.error(f"{options.action} takes nothing after --")
    if "--dry-run" in arguments:
        parser.error("--dry-run belongs before --")
    for command in commands(options, arguments):
        print(shlex.join(command), flush=True)
        if not options.dry_run:
            status = subprocess.run(command, check=False).returncode
            if status:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
