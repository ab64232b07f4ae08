from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest

from mmvae_jax import configuration
from mmvae_jax.training import locked, prepare_workdir, read_run, workdir, write_atomically
from mmvae_jax.types import UserError
from tests.training import tiny

RUN = {
    "config": {
        "seed": 0,
        "num_epochs": 3,
        "model": {"name": "mmvae_plus", "sizes": (1, 2)},
        "evaluation": {"batch_size": 10},
        "training": {"log_every": 50, "data": "auto"},
        "data": {"name": "d", "download": True, "split": "official"},
    },
    "modalities": [{"name": "a", "shape": [4]}],
    "dataset": {"name": "d", "fingerprint": "f", "provenance": "p"},
    "command": "train",
    "versions": {"jax": "1"},
}


def _changed(*path, value):
    run = copy.deepcopy(RUN)
    inner = run
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return run


def test_a_new_workdir_is_made_with_its_config(tmp_path):
    prepare_workdir(tmp_path / "a" / "b", RUN)
    assert read_run(tmp_path / "a" / "b") == json.loads(json.dumps(RUN))
    files = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert files == {"config.json", ".lock"}


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        _changed("config", "num_epochs", value=5),
        _changed("config", "evaluation", "batch_size", value=20),
        _changed("config", "evaluation", value={"other": 1}),
        _changed("config", "training", "data", value="host"),
        _changed("config", "training", value={"log_every": 50}),  # from before there was a choice
        _changed("config", "data", "download", value=False),
        _changed("config", "data", "cache_dir", value="elsewhere"),
        _changed("config", "data", value={"name": "d"}),  # nor one of downloads and splits
        _changed("config", "data", value={"name": "d", "dir": "", "split": "official"}),
        _changed(
            "config",
            "training",
            value={"log_every": 50, "augment": {"flip": "", "flip_together": True, "shift": 0}},
        ),
        _changed("command", value="train again"),
        _changed("versions", "jax", value="2"),
        _changed("dataset", "provenance", value="q"),
    ],
)
def test_the_same_run_may_continue(tmp_path, run):
    """Whichever of the two was first, but for more epochs."""
    for name, first, second in (("forward", RUN, run), ("backward", run, RUN)):
        if second["config"]["num_epochs"] < first["config"]["num_epochs"]:
            continue
        prepare_workdir(tmp_path / name, first)
        (tmp_path / name / "metrics.jsonl").write_text("{}")
        prepare_workdir(tmp_path / name, second)
        assert read_run(tmp_path / name) == json.loads(json.dumps(second))


def test_of_keys_that_came_later_every_one_is_of_no_consequence_or_had_a_value_before():
    later = {key for key in configuration._OPTIONAL if not key.startswith("evaluation.")}
    accounted = {".".join(key) for key in workdir._NOT_OF_THE_RUN} | set(workdir._BEFORE_THE_KEY)
    assert later == accounted
    rules = configuration.rules_for("mvae", "flowers")
    for key, value in workdir._BEFORE_THE_KEY.items():
        rules[key](key, value)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (_changed("config", "seed", value=1), r"config\.seed was 0, is 1"),
        (_changed("config", "num_epochs", value=2), r"config\.num_epochs was 3, is 2"),
        (
            _changed("config", "model", "name", value="mvae"),
            r"config\.model\.name was 'mmvae_plus', is 'mvae'",
        ),
        (_changed("config", "model", "sizes", value=(1, 3)), r"model\.sizes\[1\] was 2, is 3"),
        (_changed("config", "model", "new", value=1), r"config\.model\.new was not set, is 1"),
        (
            _changed("config", "data", value={"name": "d", "split": "classes"}),
            r"config\.data\.split was 'official', is 'classes'",
        ),
        (
            _changed("config", "training", value={"log_every": 50, "augment": {"shift": 1}}),
            r"config\.training\.augment\.shift was 0, is 1",
        ),
        (_changed("config", "training", value=3), r"config\.training was \{.*\}, is 3"),
        (_changed("dataset", "fingerprint", value="g"), r"dataset\.fingerprint was 'f', is 'g'"),
        (_changed("modalities", value=[]), "modalities was"),
    ],
)
def test_another_run_is_refused_and_nothing_is_changed(tmp_path, run, message):
    prepare_workdir(tmp_path, RUN)
    (tmp_path / "metrics.jsonl").write_text("{}")
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError, match=message) as error:
        prepare_workdir(tmp_path, run)
    assert "\n" not in str(error.value)
    assert (tmp_path / "config.json").read_bytes() == before
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"config.json", "metrics.jsonl", ".lock"}


def test_a_start_without_any_result_gives_way_to_the_corrected_one(tmp_path):
    prepare_workdir(tmp_path, RUN)
    (tmp_path / "checkpoints").mkdir()
    corrected = _changed("config", "seed", value=1)
    prepare_workdir(tmp_path, corrected)
    assert read_run(tmp_path)["config"]["seed"] == 1


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is a file or lies below one"):
            prepare_workdir(path, RUN)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused():
    # Where nobody can write, not even root.
    with pytest.raises(UserError, match="cannot be written"):
        prepare_workdir("/proc/mmvae_jax", RUN)


def test_files_of_an_unknown_run_are_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"holds metrics\.jsonl but no config\.json"):
        prepare_workdir(tmp_path, RUN)
    assert not (tmp_path / "config.json").exists()


def test_other_files_may_lie_there(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    prepare_workdir(tmp_path, RUN)


@pytest.mark.parametrize("content", ['{"config": {', "[]", '{"config": 3}', "\x00\xff"])
def test_a_damaged_config_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "metrics.jsonl").write_text("{}")
    for use in (lambda: read_run(tmp_path), lambda: prepare_workdir(tmp_path, RUN)):
        with pytest.raises(UserError, match=r"config\.json") as error:
            use()
        assert "\n" not in str(error.value)
    assert (tmp_path / "config.json").read_text() == content


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        read_run(tmp_path / "nowhere")


def test_write_atomically_leaves_no_other_file(tmp_path):
    for text in ("one", "two"):
        write_atomically(tmp_path / "f", text)
        assert (tmp_path / "f").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    "content", ["ä\n", "ä\n".encode(), lambda file: file.write("ä\n".encode())]
)
def test_write_atomically_takes_text_bytes_and_writers(tmp_path, content):
    write_atomically(tmp_path / "new" / "f", content)
    assert (tmp_path / "new" / "f").read_bytes() == b"\xc3\xa4\n"


def test_write_atomically_that_fails_changes_nothing(tmp_path):
    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    write_atomically(tmp_path / "f", "whole")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "f", fail)
    assert (tmp_path / "f").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_writers_at_once_do_not_collide(tmp_path):
    def write_outer(file):
        write_atomically(tmp_path / "f", "inner")
        file.write(b"outer")

    write_atomically(tmp_path / "f", write_outer)
    assert (tmp_path / "f").read_text() == "outer"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


# Takes the lock, says so, and holds it until it is killed.
HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(UserError, match=r"\.lock cannot be written \(.*directory"),
        locked(tmp_path),
    ):
        pass


def test_a_second_start_is_refused_until_the_first_is_dead(tmp_path):
    prepare_workdir(tmp_path, RUN)
    before = (tmp_path / "config.json").read_bytes()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            for start in (
                lambda: prepare_workdir(tmp_path, _changed("config", "num_epochs", value=9)),
                lambda: tiny.run(tmp_path),
            ):
                with pytest.raises(UserError, match="in use by another start") as error:
                    start()
                assert "\n" not in str(error.value)
        finally:
            holder.kill()
    assert (tmp_path / "config.json").read_bytes() == before
    with locked(tmp_path):
        pass


def test_the_lock_is_held_while_a_run_trains(tmp_path):
    refused = []

    def validate(variables, step):
        try:
            with locked(tmp_path):
                pass
        except UserError:
            refused.append(step)
        return {}

    tiny.run(tmp_path, validate=validate)
    assert refused == [6, 12, 18]
    with locked(tmp_path):
        pass


def test_without_locks_nobody_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir, "fcntl", None)
    with locked(tmp_path), locked(tmp_path):
        pass
