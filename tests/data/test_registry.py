"""Every wrong request for data is answered in one line."""

from __future__ import annotations

import pytest

from mmvae_jax import data
from mmvae_jax.types import UserError


def refusal(name: str, options: dict) -> str:
    with pytest.raises(UserError) as caught:
        data.load(name, options, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unknown_name_gives_the_nearest_and_the_list():
    message = refusal("polydigit", {})
    assert "did you mean 'polydigits'" in message and "polydigits, polymnist" in message


def test_unknown_option_gives_the_nearest_and_the_list():
    message = refusal("polydigits", {"num_trian": 5})
    assert "data.num_trian" in message and "did you mean 'num_train'" in message
    assert "num_modalities, num_test" in message


@pytest.mark.parametrize("name", ["polydigits", "polymnist"])
@pytest.mark.parametrize("count", [0, 1, 6])
def test_number_of_modalities_out_of_range(name, count):
    assert f"data.num_modalities is {count}" in refusal(name, {"num_modalities": count})


@pytest.mark.parametrize("key", ["num_train", "num_validation", "num_test", "seed"])
@pytest.mark.parametrize("name", ["polydigits", "polymnist"])
def test_negative_sizes(name, key):
    assert f"data.{key} is -1" in refusal(name, {key: -1})


def test_no_training_tuples():
    assert "data.num_train is 0" in refusal("polydigits", {"num_train": 0})


@pytest.mark.parametrize("value", ["5", 5.0, True, None])
def test_wrong_type(value):
    assert "must be of type int" in refusal("polydigits", {"num_train": value})


def test_a_folder_for_embedded_data():
    assert "reads no folder" in refusal("polydigits", {"dir": "/somewhere"})
    options = {"name": "polydigits", "dir": "", "num_train": 10, "num_validation": 1, "num_test": 1}
    assert len(data.load("polydigits", options, seed=0).splits["train"]) == 10


def test_option_defaults_are_what_load_accepts():
    assert data.option_defaults("polydigits") == {
        "num_modalities": 3,
        "num_train": 20_000,
        "num_validation": 1_000,
        "num_test": 2_000,
    }
    assert set(data.option_defaults("polymnist")) >= {"dir", "backgrounds", "num_modalities"}
