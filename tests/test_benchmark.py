from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mmvae_jax import benchmark
from mmvae_jax.types import UserError
from tests.conftest import tiny_config

CONFIG = """
from ml_collections import ConfigDict
from tests.conftest import tiny_config


def get_config(arg=None):
    config = ConfigDict(tiny_config())
    config.data.num_modalities = 2
    config.model.network = "mlp"
    config.model.network_options.mlp.hidden = (8,)
    for key, value in (pair.split("=") for pair in (arg or "").split(",") if pair):
        config[key] = int(value)
    return config
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return path


def test_every_config_is_a_row_of_the_table(tmp_path, file, capsys, monkeypatch):
    timed = []
    measure = benchmark.measure

    def counted(name, config, steps, advance):
        # The first one is measured, the others are compared with made-up speeds.
        if not timed:
            timed.append(measure(name, config, steps, lambda n: made.append(n) or advance(n)))
            return timed[0]
        timed.append(benchmark.Speed(name, "x", 32, 1.0, timed[0].steps_per_second / 4))
        return timed[-1]

    made = []
    monkeypatch.setattr(benchmark, "measure", counted)
    output = tmp_path / "speeds.json"
    found = benchmark.main(
        [f"--config={file}", f"--config={file}:batch_size=32", "--steps=7", f"--output={output}"]
    )
    assert found == timed and made == [5, 2]
    assert found[0].config == "tiny" and found[1].config == "tiny:batch_size=32"
    assert found[0].dataset == "polydigits" and found[0].batch_size == 16
    assert found[0].compile_seconds > 0 and found[0].steps_per_second > 0
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.startswith("config") and heading.endswith("relative")
    assert first.split()[:3] == ["tiny", "polydigits", "16"] and first.split()[-1] == "1.00"
    assert second.split()[-1] == "0.50"  # a quarter of the steps, of twice the size
    stored = json.loads(output.read_text())
    assert stored["steps"] == 7 and len(stored["speeds"]) == 2
    row = stored["speeds"][0]
    assert row["examples_per_second"] == pytest.approx(16 * row["steps_per_second"])


def test_data_are_cut_short_and_small_ones_left_alone():
    config = tiny_config()
    config["data"].update(num_train=0, num_validation=10000, num_test=5)
    short = benchmark._shortened(config)["data"]
    assert (short["num_train"], short["num_validation"], short["num_test"]) == (4096, 100, 5)
    assert config["data"]["num_train"] == 0


def test_all_configs_of_the_folder_are_the_default(monkeypatch, tmp_path):
    names = [benchmark.load_config(path)[0] for path in benchmark._all_configs()]
    assert "mmvae_plus" in names and "common" not in names and names == sorted(names)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no configs"):
        benchmark.main([])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps=0"], "--steps=0: must be at least 1"),
        (["--steps=many"], "invalid int value: 'many'"),
        (["--stepz=3"], "--stepz=3"),
        (["--config=configs/mvea.py"], "No such file"),
        (["--config=README.md"], "README.md is not a Python file"),
        (["--config=configs/common.py"], "no attribute 'get_config'"),
        (["--config=configs/mmvae_plus.py:dataset=polydigit"], "did you mean 'polydigits'"),
        (["--output=no/such/folder.json"], "does not exist"),
    ],
)
def test_bad_input_is_one_line(arguments, said):
    with pytest.raises(UserError, match=said) as error:
        benchmark.main(arguments)
    assert "\n" not in str(error.value)


def test_what_a_config_cannot_be_trained_on_names_the_config(file, monkeypatch):
    text = CONFIG.replace("return config", "config.data.dir = 'here'\n    return config")
    file.write_text(text)
    with pytest.raises(UserError, match=r"^tiny: data.dir is set"):
        benchmark.main([f"--config={file}"])


def test_the_command_ends_with_status_2_and_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "mmvae_jax.benchmark", "--steps=0"],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["error: --steps=0: must be at least 1"]
