"""What a run does at which step, and which rows its batches hold."""

from __future__ import annotations

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.training.plan import Plan
from mmvae_jax.types import UserError
from tests.training import tiny

MIX = {"complete": 4, "a": 1, "b": 3}


def plan(num_examples: int = 50, gaps: bool = True, **changes) -> Plan:
    split = tiny.dataset(num_examples, gaps).splits["train"]
    return Plan.from_config(tiny.config(**changes), split)


def test_steps_are_counted_in_batches_of_all_rows():
    found = plan()
    assert (found.steps_per_epoch, found.total_steps, found.checkpoint_every) == (6, 18, 6)
    # As many rows are drawn in an epoch, whatever groups they come from.
    assert plan(**{"training.batch_mix": MIX}).total_steps == 18


def test_an_epoch_may_have_another_length():
    found = plan(**{"training.steps_per_epoch": 10})
    assert (found.steps_per_epoch, found.total_steps, found.checkpoint_every) == (10, 30, 10)
    # The order of the rows is what it would have been.
    np.testing.assert_array_equal(found.indices(4, 8), plan().indices(4, 8))
    own = plan(**{"training.steps_per_epoch": 10, "training.checkpoint_every": 7})
    assert own.checkpoint_every == 7


@pytest.mark.parametrize("empty", [{}, "", {"complete": 0}])
def test_without_a_mix_rows_are_drawn_alike(empty):
    config = tiny.config()
    config.training.ignore_type().batch_mix = empty
    split = tiny.dataset(gaps=True).splits["train"]
    found = Plan.from_config(config, split)
    np.testing.assert_array_equal(found.indices(3, 7), plan().indices(3, 7))
    assert sorted(found.indices(0, 4).ravel()) == sorted(set(found.indices(0, 4).ravel()))


def test_every_batch_holds_the_set_proportions():
    split = tiny.dataset(gaps=True).splits["train"]
    groups = data.groups(split)
    found = plan(**{"training.batch_mix": MIX})
    rows = np.concatenate([found.indices(start, start + 4) for start in range(0, 16, 4)])
    for name, count in MIX.items():
        assert (np.isin(rows, groups[name]).sum(1) == count).all()


def test_chunks_and_their_padding_do_not_change_the_batches():
    found = plan(**{"training.batch_mix": MIX})
    whole = found.indices(0, 4)
    np.testing.assert_array_equal(found.indices(0, 1)[0], whole[0])
    late = found.indices(3, 6)
    np.testing.assert_array_equal(late[0], whole[3])
    assert late.shape == (4, 8) and (late[3] == -1).all()


def test_the_seed_decides():
    rows = [plan(seed=seed, **{"training.batch_mix": MIX}).indices(0, 4) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0] != rows[2]).any()


@pytest.mark.parametrize(
    ("mix", "said"),
    [
        ({"complete": 4}, "makes 4 rows, config.batch_size is 8"),
        ({"complete": 4, "other": 4}, "batch_mix.other: the training data have no such rows"),
        ({"complet": 8}, r"complete \(5 rows\), a \(22 rows\).*did you mean 'complete'"),
    ],
)
def test_a_mix_that_cannot_be_is_refused_in_one_line(mix, said):
    with pytest.raises(UserError, match=said) as error:
        plan(**{"training.batch_mix": mix})
    assert "\n" not in str(error.value)
