from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import local, tpu_pod

FOLDER = Path(local.__file__).parent


def test_a_dry_run_asked_for_in_the_wrong_place_runs_nothing(capsys):
    with pytest.raises(SystemExit):
        tpu_pod.main(["run", "--name=pod", "--zone=z", "--", "--dry-run"])
    assert "--dry-run belongs before --" in capsys.readouterr().err


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


@pytest.mark.parametrize("there", [True, False])
def test_pod_install_fetches_python_only_where_it_is_missing(there, tmp_path):
    # Every program that the command calls notes its arguments and succeeds; python may be missing.
    programs = ["git", "sudo", ".venv/bin/pip", *["python3.12"] * there]
    for name in programs:
        file = tmp_path / "mmvae_jax" / name if "/" in name else tmp_path / "bin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/log"\n')
        file.chmod(0o755)
    remote = tpu_pod.install_command("https://h/r.git", "python3.12")
    command = ["/bin/bash", "-c", remote]
    status = subprocess.run(command, cwd=tmp_path, env={"PATH": str(tmp_path / "bin")}, check=False)
    calls = (tmp_path / "log").read_text().splitlines()
    fetched = [call for call in calls if call.startswith("sudo")]
    if there:
        assert status.returncode == 0 and not fetched
        assert calls[-2:] == [
            "python3.12 -m venv .venv",
            ".venv/bin/pip install -c launch/constraints.txt -e .[tpu]",
        ]
    else:  # and the stand-in for sudo did not bring it
        assert status.returncode != 0
        assert len(fetched) == 3 and fetched[-1].endswith("install python3.12 python3.12-venv")


@pytest.mark.parametrize(
    "argv",
    [["install", "--name=a", "--zone=z"], ["create", "--name=a", "--zone=z", "--", "--x=1"]],
)
def test_pod_refuses_what_makes_no_sense(argv):
    with pytest.raises(SystemExit):
        tpu_pod.main(argv)


@pytest.mark.parametrize(
    ("gpus", "tasks", "status"), [("4", "4", 0), ("a100:4", "4", 0), ("4", "1", 2)]
)
def test_slurm_starts_one_process_for_each_gpu(gpus, tasks, status, tmp_path):
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    environment = {
        "PATH": str(tmp_path),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_GPUS_PER_NODE": gpus,
        "SLURM_NTASKS_PER_NODE": tasks,
        "SLURM_CPUS_PER_TASK": "3",
    }
    command = ["/bin/bash", str(FOLDER / "slurm.sh"), "--workdir=/a b"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status
    if status:
        assert "must be the same number" in done.stderr and not done.stdout
    else:
        assert done.stdout.splitlines() == [
            "--kill-on-bad-exit=1", "--cpus-per-task=3", ".venv/bin/python", "-m",
            "mmvae_jax.main", "--coordinator_address=auto", "--workdir=/a b",
        ]  # fmt: skip


def test_constraints_are_exact_versions():
    lines = (FOLDER / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 15
    assert all("==" in pin for pin in pins)
