from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import local, tpu_pod

FOLDER = Path(local.__file__).parent


def test_local_dry_run_prints_the_commands_and_runs_nothing(capsys):
    arguments = ["--config=configs/mmvae_plus.py:dataset=polymnist", "--workdir=/a b/c"]
    assert local.main(["--num_processes=2", "--port=1234", "--dry-run", "--", *arguments]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [shlex.split(line) for line in shown] == [
        [
            "JAX_PLATFORMS=cpu",
            sys.executable,
            "-m",
            "mmvae_jax.main",
            "--coordinator_address=127.0.0.1:1234",
            "--num_processes=2",
            f"--process_id={index}",
            *arguments,
        ]
        for index in range(2)
    ]


def test_local_prefixes_output_and_returns_zero(capfd):
    programs = [[sys.executable, "-c", f"print('hello {index}')"] for index in range(2)]
    assert local.run(programs) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] hello 0", "[1] hello 1"]


def test_local_stops_all_when_one_dies():
    began = time.monotonic()
    programs = [
        [sys.executable, "-c", "import time; time.sleep(60)"],
        [sys.executable, "-c", "raise SystemExit(3)"],
    ]
    assert local.run(programs) == 3
    assert time.monotonic() - began < 30


def test_local_refuses_no_processes():
    with pytest.raises(SystemExit):
        local.main(["--num_processes=0", "--dry-run"])


def _pod(*argv, capsys):
    assert tpu_pod.main([*argv, "--dry-run"] if "--" not in argv else list(argv)) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return shlex.split(line)


def test_pod_create_and_delete(capsys):
    place = ["--name=pod", "--zone=z", "--project=p"]
    command = ["gcloud", "compute", "tpus", "tpu-vm"]
    assert _pod("create", *place, "--type=v4-8", "--version=v", "--spot", capsys=capsys) == [
        *command, "create", "pod", "--zone=z", "--project=p", "--accelerator-type=v4-8",
        "--version=v", "--spot",
    ]  # fmt: skip
    assert _pod("delete", *place, capsys=capsys) == [
        *command, "delete", "pod", "--zone=z", "--project=p", "--quiet",
    ]  # fmt: skip


def test_pod_run_quotes_twice(capsys):
    flags = ["--config=c.py:a=b", "--workdir=/a b/$HOME", "--config.data.dir=it's"]
    shown = _pod("run", "--name=pod", "--zone=z", "--dry-run", "--", *flags, capsys=capsys)
    assert shown[:7] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=z"]
    assert shown[7] == "--worker=all"
    remote = shown[8].removeprefix("--command=")
    # What the worker's shell reads.
    assert shlex.split(remote) == [
        "cd", "mmvae_jax", "&&", ".venv/bin/python", "-m", "mmvae_jax.main",
        "--coordinator_address=auto", *flags,
    ]  # fmt: skip


def test_pod_install_command_is_valid_shell(capsys):
    shown = _pod("install", "--name=pod", "--zone=z", "--source=https://h/r.git", capsys=capsys)
    remote = shown[-1].removeprefix("--command=")
    assert "git clone https://h/r.git mmvae_jax" in remote
    assert ".venv/bin/pip install -c launch/constraints.txt -e '.[tpu]'" in remote
    subprocess.run(["bash", "-n", "-c", remote], check=True)


@pytest.mark.parametrize(
    "argv",
    [["install", "--name=a", "--zone=z"], ["create", "--name=a", "--zone=z", "--", "--x=1"]],
)
def test_pod_refuses_what_makes_no_sense(argv):
    with pytest.raises(SystemExit):
        tpu_pod.main(argv)


def test_slurm_template_is_valid_shell():
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)


def test_constraints_are_exact_versions():
    lines = (FOLDER / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 15
    assert all("==" in pin for pin in pins)
