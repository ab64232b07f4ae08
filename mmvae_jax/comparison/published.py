"""Numbers that papers print, for the settings that runs here can have.

Only what is printed as a number stands here; figures of papers do not. A number is shown where data
set, model, kind and fraction of paired rows match; other settings (epochs, networks) may differ.
An estimate of a likelihood is too low by what few draws leave out, and that of a few rows is of
these: it must have taken 1,000 draws or more, as the papers' did, and all test rows.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

from mmvae_jax.comparison.runs import Run

_FEWEST_DRAWS = 1000
# What the evaluation says of a likelihood: a run that is evaluated again keeps its old config.
_DRAWS_ON_ALL_ROWS = re.compile(r"S = (\d+) draws.*; error over all test rows")


@dataclasses.dataclass(frozen=True)
class Published:
    """One number of a paper.

    Attributes:
      dataset: name of the data set here, "/dynamic" after it if images are binarised so.
      model: name of the model here.
      partial: what training rows keep: "" (all), "paired", "always:<modality>" or "split".
      fraction: of training rows with all modalities.
      metric: flat name of the result that it stands beside.
      value: as printed; an accuracy in [0, 1], nats.
      source: paper and table.
    """

    dataset: str
    model: str
    partial: str
    fraction: float
    metric: str
    value: float
    source: str


def find(run: Run, metric: str) -> list[Published]:
    """What papers print for the setting of this run; [] where nothing does."""
    if not _is_precise(run, metric):
        return []
    setting = _setting(run)
    return [
        entry
        for entry in ENTRIES
        if entry.metric == metric
        and (entry.dataset, entry.model, entry.partial, entry.fraction) == setting
    ]


def _is_precise(run: Run, metric: str) -> bool:
    """Whether a likelihood took enough draws and all rows; other metrics need not."""
    if not metric.startswith("log_likelihood/"):
        return True
    found = _DRAWS_ON_ALL_ROWS.search(run.numbers[metric].how) if metric in run.numbers else None
    return found is not None and int(found[1]) >= _FEWEST_DRAWS


def _setting(run: Run) -> tuple[str, str, str, float] | None:
    """(data set, model, partial, fraction), or None where the data are not those of any paper."""
    data = run.config["data"]
    partial, fraction = data.get("partial", "none"), data.get("observed", 1.0)
    shortened = any(data.get(key, 0) for key in ("num_train", "num_test"))
    kind = data.get("binarize", "none")
    changed = kind not in ("none", "dynamic") or data.get("rest", "each") != "each"
    made_up = "not the published data" in str(run.dataset.get("provenance", ""))
    few = data["name"] == "polymnist" and data.get("num_modalities") != 5
    if shortened or changed or made_up or few or run.split != "test":
        return None
    name = data["name"] if kind == "none" else f"{data['name']}/{kind}"
    if partial == "none" or (partial in ("paired", "always", "split") and fraction == 1.0):
        return name, run.model, "", 1.0
    if partial == "always":
        partial = f"always:{data.get('always', '')}"
    elif partial not in ("paired", "split"):
        return None
    return name, run.model, partial, float(fraction)


def _by_fraction(
    dataset: str,
    model: str,
    metric: str,
    source: str,
    values: Mapping[float, float],
    partial: str = "paired",
) -> Iterator[Published]:
    for fraction, value in values.items():
        kept = "" if fraction == 1.0 else partial
        yield Published(dataset, model, kept, fraction, metric, value, source)


def _whole(
    dataset: str, model: str, source: str, values: Mapping[str, float]
) -> Iterator[Published]:
    for metric, value in values.items():
        yield Published(dataset, model, "", 1.0, metric, value, source)


# --- few labels: accuracy of the label decoded from the image -----------------------------------

_MNIST, _FASHION, _ACCURACY = "mnist_labels", "fashion_mnist_labels", "classification/accuracy"
_BINARY = f"{_MNIST}/dynamic"
_HYBRID = "Lee & Pavlovic 2021 (hybrid DMVAE), table 1"
_HYBRID_RERUN = f"{_HYBRID}, their run"
_HYBRID_ABLATION = "Lee & Pavlovic 2021 (hybrid DMVAE), table 8"
_MVAE_FASHION = "Wu & Goodman 2018 (MVAE), supplement, table 4"
_FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
_MORE_FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


def _few_labels() -> Iterator[Published]:
    def table(
        dataset: str, model: str, source: str, values: Sequence[float], fractions: Sequence[float]
    ) -> Iterator[Published]:
        # The last number of some rows is not legible: they are shorter.
        by_fraction = dict(zip(fractions, values, strict=False))
        return _by_fraction(dataset, model, _ACCURACY, source, by_fraction)

    # Hybrid DMVAE paper, table 1, MNIST and FashionMNIST. JMVAE's rows are those of the MVAE paper.
    dmvae = (0.774, 0.917, 0.944, 0.946, 0.957, 0.961, 0.974, 0.981)
    yield from table(_MNIST, "dmvae_hybrid", _HYBRID, dmvae, _FRACTIONS)
    mvae = (0.441, 0.579, 0.829, 0.897, 0.935, 0.948, 0.961, 0.971)
    yield from table(_MNIST, "mvae", _HYBRID_RERUN, mvae, _FRACTIONS)
    jmvae = (0.234, 0.281, 0.339, 0.612, 0.864, 0.905, 0.950, 0.957)
    yield from table(_MNIST, "jmvae", _HYBRID, jmvae, _FRACTIONS)
    dmvae = (0.541, 0.749, 0.777, 0.834, 0.871, 0.894, 0.928, 0.941)
    yield from table(_FASHION, "dmvae_hybrid", _HYBRID, dmvae, _FRACTIONS)
    mvae = (0.487, 0.559, 0.660, 0.773, 0.827, 0.842, 0.869)
    yield from table(_FASHION, "mvae", _HYBRID_RERUN, mvae, _FRACTIONS)
    # The same paper, table 8: DMVAE with Gaussian shared codes, 0.2 % of the labels.
    yield from table(_MNIST, "dmvae", _HYBRID_ABLATION, (0.695,), (0.002,))
    yield from table(_FASHION, "dmvae", _HYBRID_ABLATION, (0.631,), (0.002,))
    # MVAE paper, supplement, table 4: FashionMNIST.
    mvae = (0.4548, 0.5189, 0.7619, 0.8619, 0.9201, 0.9243, 0.9239, 0.9478, 0.947)
    yield from table(_FASHION, "mvae", _MVAE_FASHION, mvae, _MORE_FRACTIONS)
    jmvae = (0.5284, 0.5737, 0.6641, 0.6996, 0.7437, 0.7937, 0.8212, 0.8514, 0.8828)
    yield from table(_FASHION, "jmvae", _MVAE_FASHION, jmvae, _MORE_FRACTIONS)


# --- likelihoods of images with labels ----------------------------------------------------------


def _likelihoods() -> Iterator[Published]:
    # MVAE paper, supplement, table 1, columns BinaryMNIST, MNIST and FMNIST: x1 the image, x2 the
    # label.
    source = "Wu & Goodman 2018 (MVAE), supplement, table 1"
    names = ("marginal/image", "joint", "conditional/image|label")
    rows = {
        (_BINARY, "mvae"): (-86.051, -86.278, -83.940),
        (_BINARY, "jmvae"): (-86.234, -86.304, -83.820),
        (_MNIST, "mvae"): (-90.616, -90.851, -88.558),
        (_MNIST, "jmvae"): (-90.962, -91.031, -88.436),
        (_FASHION, "mvae"): (-232.539, -233.007, -230.699),
        (_FASHION, "jmvae"): (-232.401, -232.700, -230.651),
    }
    for (dataset, model), values in rows.items():
        named = {f"log_likelihood/{n}": v for n, v in zip(names, values, strict=True)}
        yield from _whole(dataset, model, source, named)


# --- coherence ----------------------------------------------------------------------------------

_CONDITIONAL, _UNCONDITIONAL = "coherence/conditional/mean", "coherence/unconditional"
_PAIR = "mnist_svhn"
_DIRECTIONS = "mean of both directions"


def _coherence() -> Iterator[Published]:
    # As the documentation of the MultiVae library quotes them; the MMVAE+ paper prints its results
    # on PolyMNIST as figures only. An FID of 92.81 is quoted too, but not whether of conditional or
    # of prior samples: it stands beside neither.
    source = "quoted by the MultiVae library"
    for model, name, value in (
        ("mmvae_plus", "MMVAE+", 0.869),
        ("mopoe", "MoPoE-VAE, one modality given", 0.66),
    ):
        yield from _whole("polymnist", model, f"{name}, {source}", {_CONDITIONAL: value})
    mmvae = {_CONDITIONAL: (0.86 + 0.69) / 2, _UNCONDITIONAL: 0.42}
    yield from _whole(_PAIR, "mmvae", f"MMVAE, {source}; {_DIRECTIONS}", mmvae)
    # DMVAE paper, supplement, table 2 (b): private codes from the prior. The joint one is quoted.
    cross = {_CONDITIONAL: (0.8373 + 0.8813) / 2}
    yield from _whole(_PAIR, "dmvae", f"DMVAE, supplement, table 2; {_DIRECTIONS}", cross)
    yield from _whole(_PAIR, "dmvae", f"DMVAE, {source}", {_UNCONDITIONAL: 0.447})


# --- mutual supervision on MNIST and SVHN -------------------------------------------------------

_SUPERVISION = (1.0, 0.5, 0.25, 0.125, 0.0625)
# MEME paper, tables 3 and 4: {(model, partial): four rows over the fractions}: coherence of SVHN
# given MNIST, of MNIST given SVHN, accuracy of the linear probe on MNIST, on SVHN.
_MEME = {
    ("meme", "always:svhn"): (
        (0.625, 0.551, 0.323, 0.172, 0.143),
        (0.752, 0.726, 0.652, 0.557, 0.477),
        (0.908, 0.881, 0.870, 0.815, 0.795),
        (0.648, 0.549, 0.295, 0.149, 0.113),
    ),
    ("meme", "always:mnist"): (
        (0.625, 0.572, 0.485, 0.470, 0.451),
        (0.752, 0.715, 0.603, 0.546, 0.446),
        (0.908, 0.882, 0.844, 0.824, 0.807),
        (0.648, 0.581, 0.398, 0.384, 0.362),
    ),
    ("meme", "split"): (
        (0.625, 0.625, 0.503, 0.467, 0.387),
        (0.752, 0.718, 0.621, 0.568, 0.503),
        (0.908, 0.914, 0.893, 0.883, 0.856),
        (0.648, 0.675, 0.507, 0.432, 0.316),
    ),
    ("mmvae", ""): ((0.581,), (0.735,), (0.886,), (0.499,)),
    ("mvae", "always:svhn"): (
        (0.123, 0.110, 0.112, 0.105, 0.105),
        (0.498, 0.305, 0.268, 0.220, 0.188),
        (0.892, 0.895, 0.890, 0.887, 0.880),
        (0.131, 0.106, 0.107, 0.105, 0.102),
    ),
    ("mvae", "always:mnist"): (
        (0.123, 0.111, 0.112, 0.116, 0.116),
        (0.498, 0.365, 0.350, 0.302, 0.249),
        (0.892, 0.895, 0.898, 0.896, 0.895),
        (0.131, 0.106, 0.106, 0.107, 0.101),
    ),
    ("mvae", "split"): (
        (0.123, 0.108, 0.101, 0.101, 0.101),
        (0.498, 0.338, 0.273, 0.249, 0.169),
        (0.892, 0.898, 0.895, 0.894, 0.898),
        (0.131, 0.107, 0.109, 0.104, 0.100),
    ),
}


def _mutual_supervision() -> Iterator[Published]:
    paper = "Joy et al. 2022 (MEME), table"
    for (model, partial), (to_svhn, to_mnist, mnist, svhn) in _MEME.items():
        rows = {
            _CONDITIONAL: (f"{paper} 3; {_DIRECTIONS}", _means(to_svhn, to_mnist)),
            "probe/shared/mnist": (f"{paper} 4", mnist),
            "probe/shared/svhn": (f"{paper} 4", svhn),
            "probe/shared/mean": (f"{paper} 4; mean of both modalities", _means(mnist, svhn)),
        }
        for metric, (source, values) in rows.items():
            by_fraction = dict(zip(_SUPERVISION, values, strict=False))
            yield from _by_fraction(_PAIR, model, metric, source, by_fraction, partial)


def _means(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [(a + b) / 2 for a, b in zip(one, other, strict=True)]


# Rows of several kinds of missingness share their entry without any.
ENTRIES = tuple(
    dict.fromkeys([*_few_labels(), *_likelihoods(), *_coherence(), *_mutual_supervision()])
)
