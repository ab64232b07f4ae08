"""Partial training data: what every policy keeps, determinism, and that nothing is added."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import missingness
from mmvae_jax.data.missingness import Partial
from mmvae_jax.types import ModalitySpec, UserError


def specs(count: int) -> tuple[ModalitySpec, ...]:
    return tuple(ModalitySpec(name=f"m{i}", shape=(2,)) for i in range(count))


def complete(rows: int, modalities: int = 3) -> data.Split:
    """Every array holds its row's number."""
    number = np.arange(rows)
    pixels = (number[:, None] // [1, 256] % 256).astype(np.uint8)
    return data.Split.complete({f"m{i}": pixels for i in range(modalities)}, number)


def labelled(rows: int) -> tuple[data.Split, tuple[ModalitySpec, ...]]:
    """An image, a view and a label with 4 classes."""
    label = np.random.default_rng(0).integers(4, size=rows).astype(np.int32)
    x = {**complete(rows, 2).x, "label": label}
    label_spec = ModalitySpec(
        name="label", shape=(), dtype="int32", likelihood="categorical", num_classes=4
    )
    return data.Split.complete(x, np.arange(rows)), (*specs(2), label_spec)


def make(split: data.Split, seed: int = 0, **options) -> data.Split:
    return missingness.make_partial(split, specs(len(split.x)), Partial(**options), seed)


def mask(split: data.Split) -> np.ndarray:
    return np.stack(list(split.present.values()), 1)


EVERY_POLICY = [
    {"partial": "independent", "observed": 0.5},
    {"partial": "paired", "observed": 0.2},
    {"partial": "paired", "observed": 0.2, "rest": "one"},
    {"partial": "always", "observed": 0.2, "always": "m1"},
    {"partial": "split", "observed": 0.2},
]


# --- single policies --------------------------------------------------------------------------


@pytest.mark.parametrize("observed", [0.9, 0.5, 0.1])
def test_each_modality_is_kept_with_the_probability(observed):
    """A row that would lose all three, p^3 of them, keeps one: p - p^3 / 3 is absent."""
    kept = mask(make(complete(20_000), partial="independent", observed=observed))
    p = 1 - observed
    expected = p - p**3 / 3
    error = np.sqrt(expected * (1 - expected) / 20_000)
    np.testing.assert_allclose(1 - kept.mean(0), expected, atol=4 * error)
    # Whole rows are as frequent as independence makes them.
    whole = observed**3
    assert abs(kept.all(1).mean() - whole) < 4 * np.sqrt(whole * (1 - whole) / 20_000)


@pytest.mark.parametrize("observed", [0.0, 0.05])
def test_independent_leaves_no_row_empty_and_the_last_one_is_any(observed):
    kept = mask(make(complete(6000), partial="independent", observed=observed))
    assert kept.any(1).all()
    single = kept[kept.sum(1) == 1].sum(0)
    assert abs(single - single.mean()).max() < 4 * np.sqrt(single.sum() * 2 / 9)


def test_paired_takes_the_other_rows_apart_and_throws_nothing_away():
    split = make(complete(1000), partial="paired", observed=0.05)
    kept, number = mask(split), split.label
    whole = kept.all(1)
    assert whole.sum() == 50 and len(split) == 50 + 3 * 950
    assert (kept[~whole].sum(1) == 1).all()
    # Every item of every modality is there once, and the copies of a row follow each other.
    for m in range(3):
        assert sorted(number[kept[:, m]]) == list(range(1000))
    assert (np.diff(number) >= 0).all()
    for name in split.x:
        np.testing.assert_array_equal(split.x[name], complete(1000).x[name][number])
    of_ten = dataclasses.replace(complete(1000), item=np.arange(1000) // 10)
    parts = make(of_ten, partial="paired", observed=0.05)
    np.testing.assert_array_equal(parts.item, number // 10)


def test_paired_with_one_keeps_a_random_modality_of_the_other_rows():
    split = make(complete(3000), partial="paired", observed=0.1, rest="one")
    kept = mask(split)
    assert len(split) == 3000 and kept.all(1).sum() == 300
    single = kept[~kept.all(1)]
    assert (single.sum(1) == 1).all()
    assert abs(single.sum(0) - 900).max() < 4 * np.sqrt(2700 * 2 / 9)


def test_the_paired_rows_are_nested_and_depend_on_the_seed():
    def paired(observed, seed):
        split = make(complete(50_000, 2), seed, partial="paired", observed=observed)
        return set(split.label[mask(split).all(1)])

    fractions = (0.001, 0.002, 0.005, 0.01, 0.1, 1.0)
    found = [paired(observed, 0) for observed in fractions]
    assert [len(rows) for rows in found] == [50, 100, 250, 500, 5000, 50_000]
    assert all(few < many for few, many in itertools.pairwise(found))
    others = [paired(0.002, seed) for seed in (1, 2)]
    assert all(len(rows & found[1]) < 10 for rows in others)
    # Spread over the whole set.
    assert abs(np.mean(list(found[2])) - 25_000) < 4 * 50_000 / np.sqrt(12 * 250)


@pytest.mark.parametrize("rest", missingness.RESTS)
def test_a_paired_fraction_of_zero_or_next_to_it(rest):
    def whole(observed):
        split = make(complete(20), partial="paired", observed=observed, rest=rest)
        return mask(split).all(1).sum()

    assert [whole(0.0), whole(1e-6), whole(1.0)] == [0, 1, 20]


def test_always_keeps_one_modality_of_the_other_rows():
    kept = mask(make(complete(200), partial="always", observed=0.25, always="m1"))
    assert kept.all(1).sum() == 50
    np.testing.assert_array_equal(kept[~kept.all(1)].sum(0), [0, 150, 0])


def test_split_takes_one_modality_in_turn():
    kept = mask(make(complete(9), partial="split", observed=0.0))
    np.testing.assert_array_equal(kept, np.tile(np.eye(3, dtype=bool), (3, 1)))
    kept = mask(make(complete(3000, 2), partial="split", observed=0.5))
    assert kept.all(1).sum() == 1500
    assert kept[0::2, 0].all() and kept[1::2, 1].all()


@pytest.mark.parametrize("rest", missingness.RESTS)
def test_labels_per_class_keeps_so_many_labels(rest):
    split, all_specs = labelled(400)
    options = Partial(partial="labels_per_class", labels_per_class=5, rest=rest)
    found = missingness.make_partial(split, all_specs, options, 3)
    kept = mask(found)
    whole = kept.all(1)
    np.testing.assert_array_equal(np.bincount(found.x["label"][whole]), [5, 5, 5, 5])
    views = kept[:, 0] & kept[:, 1]
    assert sorted(found.label[views]) == list(range(400))
    if rest == "each":
        assert len(found) == 20 + 2 * 380
        assert sorted(found.label[kept[:, 2]]) == list(range(400))
        assert (kept[kept[:, 2] & ~whole].sum(1) == 1).all()
    else:
        assert len(found) == 400 and kept[:, 2].sum() == 20


def test_labels_per_class_are_nested_and_depend_on_the_seed():
    split, all_specs = labelled(400)

    def chosen(count, seed):
        options = Partial(partial="labels_per_class", labels_per_class=count)
        found = missingness.make_partial(split, all_specs, options, seed)
        return set(found.label[mask(found).all(1)])

    assert chosen(3, 0) < chosen(10, 0)
    assert chosen(10, 0) != chosen(10, 1)


def test_labels_per_class_counts_only_labels_that_are_there():
    split, all_specs = labelled(100)
    split.present["label"][:] = split.x["label"] == 0
    options = Partial(partial="labels_per_class", labels_per_class=1)
    with pytest.raises(UserError, match="labels_per_class is 1, but class 1 has 0 training rows"):
        missingness.make_partial(split, all_specs, options, 0)


# --- all policies -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", EVERY_POLICY)
def test_the_same_seed_gives_the_same_rows_and_another_others(options):
    first, again, other = (make(complete(300), seed, **options) for seed in (5, 5, 6))
    np.testing.assert_array_equal(mask(first), mask(again))
    np.testing.assert_array_equal(first.label, again.label)
    if len(first) == len(other):
        assert not np.array_equal(mask(first), mask(other))
    assert not np.array_equal(first.label[mask(first).all(1)], other.label[mask(other).all(1)])


@pytest.mark.parametrize("options", EVERY_POLICY)
def test_what_is_absent_stays_absent_and_no_row_loses_everything(options):
    split = complete(400)
    rng = np.random.default_rng(1)
    for name in split.x:
        split.present[name][:] = rng.random(400) < 0.6
    before = mask(split)
    found = make(split, **options)
    kept = mask(found)
    assert (before[found.label] | ~kept).all()
    np.testing.assert_array_equal(kept.any(1), before.any(1)[found.label])
    assert set(found.label) == set(range(400))
    if options.get("rest", "each") == "each" and options["partial"] == "paired":
        # Taken apart, not thrown away.
        for m in range(3):
            np.testing.assert_array_equal(found.label[kept[:, m]], np.flatnonzero(before[:, m]))


def test_labels_per_class_on_partial_data_leaves_no_row_empty():
    split, all_specs = labelled(300)
    split.present["m0"][:100] = split.present["m1"][:100] = False
    split.present["label"][200:] = False
    for rest in missingness.RESTS:
        options = Partial(partial="labels_per_class", labels_per_class=2, rest=rest)
        found = missingness.make_partial(split, all_specs, options, 0)
        kept = mask(found)
        assert kept.any(1).all()
        assert (kept[:, 2] <= mask(split)[found.label, 2]).all()
        # Rows with a label alone lose it where the others' labels are left out.
        alone = set(found.label[kept[:, 2] & ~kept[:, 0]])
        assert (len(alone) >= 100) if rest == "each" else len(alone) <= 8


def test_a_row_alone_decides_what_becomes_of_it():
    short, long = (
        mask(make(complete(n), 7, partial="independent", observed=0.5)) for n in (50, 500)
    )
    np.testing.assert_array_equal(long[:50], short)
    # Further modalities leave the draws of the first as they are.
    few = mask(make(complete(500, 2), 7, partial="independent", observed=0.5))
    several = few.all(1)
    np.testing.assert_array_equal(long[several, :2], few[several])
    paired = [
        make(complete(500, m), 7, partial="paired", observed=0.1, rest="one") for m in (2, 3, 5)
    ]
    whole = [np.flatnonzero(mask(split).all(1)) for split in paired]
    np.testing.assert_array_equal(whole[0], whole[1])
    np.testing.assert_array_equal(whole[0], whole[2])


def test_nothing_is_copied_where_rows_stay_in_place():
    split = complete(50)
    assert make(split, partial="independent", observed=0.5).x["m0"] is split.x["m0"]


# --- groups -----------------------------------------------------------------------------------


def test_groups_name_rows_by_what_they_hold():
    split = complete(8)
    for name, absent in {"m0": [1, 3, 4, 7], "m1": [1, 2, 7], "m2": [2, 3, 4, 6, 7]}.items():
        split.present[name][absent] = False
    found = {name: list(rows) for name, rows in data.groups(split).items()}
    # Row 7 holds nothing.
    assert found == {"complete": [0, 5], "m2": [1], "m0": [2], "m1": [3, 4], "other": [6]}
    assert list(data.groups(complete(3))) == ["complete"]


def test_a_modality_with_a_groups_name_is_refused():
    pixels = np.zeros((3, 2), np.uint8)
    with pytest.raises(UserError, match="a modality is called 'other'"):
        data.groups(data.Split.complete({"other": pixels, "m0": pixels}))


# --- options ----------------------------------------------------------------------------------

SIZES = {"num_train": 200, "num_validation": 20, "num_test": 20}


def test_the_options_make_the_training_split_partial_and_no_other():
    whole = data.load("polydigits", SIZES, seed=0)
    options = {**SIZES, "partial": "independent", "observed": 0.5}
    partial = data.load("polydigits", options, seed=0)
    assert 0.3 < mask(partial.splits["train"]).mean() < 0.7
    assert mask(partial.splits["validation"]).all()
    assert mask(partial.splits["test"]).all()
    assert "each modality is kept with a probability of 50 %" in partial.provenance
    np.testing.assert_array_equal(partial.splits["train"].x["m1"], whole.splits["train"].x["m1"])
    kept = mask(partial.splits["train"]).sum(0)
    assert [spec.num_examples for spec in partial.specs] == list(kept)
    prints = {
        data.load("polydigits", {**SIZES, **options}, seed=seed).fingerprint
        for seed in (0, 1)
        for options in ({}, *EVERY_POLICY)
    }
    assert len(prints) == 2 * (1 + len(EVERY_POLICY)) and whole.fingerprint in prints


def test_unzipped_rows_count_each_item_once():
    options = {**SIZES, "partial": "paired", "observed": 0.1}
    dataset = data.load("polydigits", options)
    assert len(dataset.splits["train"]) == 20 + 3 * 180
    assert [spec.num_examples for spec in dataset.specs] == [200, 200, 200]
    assert "10 % of the rows stay, of the others each modality is a row" in dataset.provenance


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"partial": "pared"}, "data.partial is 'pared'.*did you mean 'paired'"),
        ({"partial": 3}, "data.partial is 3, it must be one of none, independent"),
        ({"partial": "paired", "observed": 1.5}, "data.observed is 1.5, .* from 0 to 1"),
        ({"partial": "paired", "observed": float("nan")}, "data.observed is nan"),
        ({"partial": "paired", "observed": "half"}, "data.observed is 'half'"),
        ({"partial": "paired", "observed": True}, "data.observed is True"),
        ({"partial": "paired", "rest": "both"}, "data.rest is 'both', it must be one of each, one"),
        ({"observed": 0.5}, "data.observed is 0.5, but data.partial is 'none'"),
        ({"partial": "always"}, "data.always is '', but data.partial is 'always'"),
        ({"always": "m0"}, "data.always is 'm0', but data.partial is 'none'"),
        ({"partial": "always", "always": "m7"}, "data.always is 'm7', the modalities are m0, m1"),
        ({"partial": "always", "always": 0}, "data.always is 0"),
        ({"partial": "labels_per_class"}, "data.labels_per_class is 0, but data.partial"),
        ({"labels_per_class": 3}, "data.labels_per_class is 3, but data.partial is 'none'"),
        ({"partial": "labels_per_class", "labels_per_class": -1}, "labels_per_class is -1"),
        (
            {"partial": "labels_per_class", "labels_per_class": 3},
            "no modality 'label' with classes, only m0, m1, m2",
        ),
        ({"missing": 0.5}, "no option data.missing"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(options, said):
    with pytest.raises(UserError, match=said) as error:
        data.load("polydigits", {**SIZES, **options})
    assert "\n" not in str(error.value)


def test_options_are_those_of_the_config():
    from configs import common

    shared = set.intersection(*(set(values) for values in common.DATASETS.values()))
    assert shared >= {field.name for field in dataclasses.fields(Partial)}
