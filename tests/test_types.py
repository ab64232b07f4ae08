from __future__ import annotations

import pytest

from mmvae_jax import models
from mmvae_jax.types import ModalitySpec, UserError, nearest


@pytest.mark.parametrize(
    ("word", "hint"),
    [("adamm", "; did you mean 'adam'?"), ("zzz", ""), ("", ""), (3, "")],
)
def test_nearest_ends_a_message_or_says_nothing(word, hint):
    assert nearest(word, {"adam": 1, "sgd": 2}) == hint


def test_an_unknown_model_is_told_its_nearest():
    config = {"model": {"name": "mmvae_pls"}, "objective": {}}
    with pytest.raises(UserError, match=r"unknown model 'mmvae_pls'.*did you mean 'mmvae_plus'"):
        models.build(config, (ModalitySpec(name="a", shape=(2,)),))
