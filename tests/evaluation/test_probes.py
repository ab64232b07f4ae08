"""Linear probes once more by scikit-learn, on codes that NumPy computes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mmvae_jax.data import Dataset, Split
from mmvae_jax.evaluation import Context, NotApplicable, Settings
from mmvae_jax.evaluation.probe_subsets import joint_probes, subset_probes, subsets
from mmvae_jax.evaluation.probes import linear_probes
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.types import ModalitySpec, UserError
from tests.evaluation import fakes

NAMES = ("a", "b", "c")
SPECS = (
    *(
        ModalitySpec(
            name=name,
            shape=(3,),
            dtype="float32",
            likelihood="normal",
            private_dim=2 * (name < "c"),
        )
        for name in NAMES
    ),
    *fakes.specs(("l",)),
)


@dataclasses.dataclass(frozen=True)
class Averaging:
    """Shared code: the mean of what is given and there. Private code: two numbers of the item."""

    specs: tuple[ModalitySpec, ...] = SPECS
    noise: float = 0.0

    @property
    def shared(self):
        return LatentSpace(3)

    def embed(self, variables, batch, given=None):
        x = jnp.stack([batch["x"][name] for name in given])
        here = jnp.stack([batch["present"][name] for name in given])[..., None].astype(x.dtype)
        found = {"shared": (x * here).sum(0) / jnp.maximum(here.sum(0), 1.0)}
        for spec in self.specs:
            if spec.private_dim and spec.name in given:
                there = batch["present"][spec.name][:, None]
                own = batch["x"][spec.name][:, 1:] ** 2
                found[f"private/{spec.name}"] = jnp.where(there, own, 0.0)
        return found

    def sample_posterior(self, variables, rng, batch, given, num_samples):
        found = self.embed(variables, batch, given)
        noise = self.noise * jax.random.normal(rng, (1, *found["shared"].shape))
        private = {n: found[f"private/{n}"][None] for n in given if f"private/{n}" in found}
        return found["shared"][None] + noise, private


def split(count, seed):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, fakes.CLASSES, count).astype(np.int32)
    centres = np.random.default_rng(9).normal(size=(len(NAMES), fakes.CLASSES, 3))
    x = {
        name: (centres[i][label] + 1.5 * generator.normal(size=(count, 3))).astype(np.float32)
        for i, name in enumerate(NAMES)
    }
    found = Split.complete({**x, "l": label.copy()}, label)
    found.present["a"][: count // 3] = False
    found.x["a"][: count // 3] = 50.0  # would tell nothing, and shift the means
    found.present["b"][: count // 6] = False
    return found


def context(noise=0.0, **settings):
    splits = {"train": split(150, 0), "validation": split(20, 1), "test": split(90, 2)}
    splits["test"].label[-3:] = -1
    splits["test"].present["l"][-3:] = False
    return Context(
        model=Averaging(noise=noise),
        variables={},
        dataset=Dataset("made up", SPECS, splits, fakes.CLASSES),
        settings=Settings(batch_size=32, probe_train=0, **settings),
        workdir=None,
        step=0,
    )


def by_hand(given, names, kind, some):
    """(share of test rows that are right, their number) of a probe given ``names``."""
    codes, labels = [], []
    for rows in (given.dataset.splits["train"], given.rows):
        here = np.stack([rows.present[name] for name in names])
        x = np.stack([rows.x[name] for name in names]) * here[..., None]
        code = [x.sum(0) / np.maximum(here.sum(0), 1)[:, None]]
        own = [np.where(rows.present[n][:, None], rows.x[n][:, 1:] ** 2, 0.0) for n in "ab"]
        counted = some(here, 0) & (rows.label >= 0)
        chosen = {"shared": code, "all": code + own, "private": own[NAMES.index(names[0]) :][:1]}
        codes.append(np.concatenate(chosen[kind], 1).astype(np.float32)[counted])
        labels.append(rows.label[counted])
    scaler = StandardScaler().fit(codes[0])
    probe = LogisticRegression(max_iter=1000).fit(scaler.transform(codes[0]), labels[0])
    right = probe.predict(scaler.transform(codes[1])) == labels[1]
    return right.mean(), len(right)


def check(result, expected):
    assert (result.value, result.n) == (pytest.approx(expected[0], abs=1e-9), expected[1])
    assert 0.3 < result.value < 0.95


@pytest.mark.parametrize("codes", ["means", "samples"])
def test_of_one_modality(codes):
    given = context(probe_codes=codes)
    found = linear_probes(given)
    for name in NAMES:
        check(found[f"probe/shared/{name}"], by_hand(given, (name,), "shared", np.all))
    check(found["probe/private/b"], by_hand(given, ("b",), "private", np.all))
    assert f"posterior {codes} of 100 training rows" in found["probe/shared/a"].how
    assert given.skipped["probe/private/c"] == "it has no private code"


def test_of_several_modalities_and_of_all():
    given = context(probe_codes="means")
    found = subset_probes(given)
    assert set(found) == {"probe/given/a+b", "probe/given/a+c", "probe/given/b+c", "probe/given/2"}
    for pair in ("ab", "ac", "bc"):
        check(found[f"probe/given/{'+'.join(pair)}"], by_hand(given, tuple(pair), "shared", np.all))
    assert found["probe/given/a+c"].n == 90 - 30 - 3
    values = [found[f"probe/given/{pair}"].value for pair in ("a+b", "a+c", "b+c")]
    assert found["probe/given/2"].value == pytest.approx(np.mean(values))
    assert "mean over 3 subsets of 2 given" in found["probe/given/2"].how
    joint = joint_probes(given)
    assert set(joint) == {"probe/joint/shared", "probe/joint/all"}
    for kind in ("shared", "all"):
        check(joint[f"probe/joint/{kind}"], by_hand(given, NAMES, kind, np.any))
    assert joint["probe/joint/all"].n == 87
    assert not given.skipped


def test_samples_are_drawn():
    sure, unsure = (joint_probes(context(noise)) for noise in (0.0, 30.0))
    name = "probe/joint/shared"
    assert unsure[name].value < 0.4 < sure[name].value
    means = joint_probes(context(30.0, probe_codes="means"))
    assert means[name].value == sure[name].value
    assert "posterior samples" in unsure[name].how and "posterior means" in means[name].how


def test_which_subsets():
    assert len(subsets(tuple("abcdef"))) == 2**6 - 2 - 6
    many = subsets(tuple("abcdefgh"))
    assert ["".join(given) for given in many] == ["ab", "abc", "abcd", "abcde", "abcdef", "abcdefg"]


def test_bad_codes_and_too_few_modalities():
    with pytest.raises(UserError, match="probe_codes=mean: must be samples or means"):
        joint_probes(context(probe_codes="mean"))
    given = dataclasses.replace(context(), dataset=fakes.dataset(("a", "v", "l")))
    with pytest.raises(NotApplicable, match="2 modalities beside the class"):
        subset_probes(given)
