"""Numbers that papers print, for the settings that runs here can have.

Only what is printed as a number stands here; figures of papers do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Published:
    """One number of a paper.

    Attributes:
      dataset: name of the data set here, "/dynamic" after it if images are binarised so, "/each"
        if every attribute is a modality.
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
_HYBRID_QUOTED = "Lee & Pavlovic 2021 (hybrid DMVAE), table 7, of the MVAE paper"
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
    # MVAE: table 8 has another number than table 1, table 7 what its own paper prints.
    yield from table(_MNIST, "mvae", _HYBRID_ABLATION, (0.625,), (0.002,))
    yield from table(_MNIST, "mvae", _HYBRID_QUOTED, (0.968,), (1.0,))
    # MVAE paper, supplement, table 4: FashionMNIST.
    mvae = (0.4548, 0.5189, 0.7619, 0.8619, 0.9201, 0.9243, 0.9239, 0.9478, 0.947)
    yield from table(_FASHION, "mvae", _MVAE_FASHION, mvae, _MORE_FRACTIONS)
    jmvae = (0.5284, 0.5737, 0.6641, 0.6996, 0.7437, 0.7937, 0.8212, 0.8514, 0.8828)
    yield from table(_FASHION, "jmvae", _MVAE_FASHION, jmvae, _MORE_FRACTIONS)
    # The same, table 5: the string of digits decoded from a canvas of MultiMNIST.
    source, metric = (
        "Wu & Goodman 2018 (MVAE), supplement, table 5",
        "classification/text/exact/text",
    )
    for model, values in (
        ("mvae", (0.09363, 0.1189, 0.1098, 0.2287, 0.3805, 0.4289, 0.4999, 0.5121, 0.5288)),
        ("jmvae", (0.0603, 0.0603, 0.0888, 0.1531, 0.1699, 0.1772, 0.4765, 0.4962, 0.4955)),
    ):
        by_fraction = dict(zip(_MORE_FRACTIONS, values, strict=True))
        yield from _by_fraction("multimnist", model, metric, source, by_fraction)


# --- attributes of faces decoded from the image -------------------------------------------------


def _attributes() -> Iterator[Published]:
    # Hybrid DMVAE paper, table 2 (a). Only of its last fraction, 100 %, the text says which it is.
    source = "Lee & Pavlovic 2021 (hybrid DMVAE), table 2"
    for model, f1, accuracy in (("mvae", 0.514, 0.892), ("dmvae_hybrid", 0.704, 0.907)):
        values = {"f1": f1, "accuracy": accuracy}
        named = {f"classification/attributes/{name}": value for name, value in values.items()}
        yield from _whole("celeba", model, source, named)


# --- likelihoods of images with labels, texts, attributes ---------------------------------------

_ATTRIBUTES = (
    *("Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows", "Eyeglasses"),
    *("Gray_Hair", "Heavy_Makeup", "Male", "Mouth_Slightly_Open", "Mustache", "Pale_Skin"),
    *("Receding_Hairline", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Hat"),
)
# MVAE paper, supplement, tables 1 and 2: {(data set, x2, model): (log p(x1), log p(x1, x2),
# log p(x1 | x2)), (variances of the log-weights of these)}; x1 is the image.
_IMAGE_AND_OTHER = {
    (_BINARY, "label", "mvae"): ((-86.051, -86.278, -83.940), (21.791, 21.917, 23.035)),
    (_BINARY, "label", "jmvae"): ((-86.234, -86.304, -83.820), (22.387, 23.309, 40.646)),
    (_MNIST, "label", "mvae"): ((-90.616, -90.851, -88.558), (25.741, 26.057, 27.652)),
    (_MNIST, "label", "jmvae"): ((-90.962, -91.031, -88.436), (24.962, 26.767, 40.086)),
    (_FASHION, "label", "mvae"): ((-232.539, -233.007, -230.699), (18.092, 18.263, 19.934)),
    (_FASHION, "label", "jmvae"): ((-232.401, -232.700, -230.651), (28.443, 29.874, 56.452)),
    ("multimnist", "text", "mvae"): ((-152.826, -153.478, -147.009), (16.437, 16.672, 28.649)),
    ("multimnist", "text", "jmvae"): ((-153.026, -153.320, -145.761), (35.822, 38.298, 92.683)),
    ("celeba", "attributes", "mvae"): (
        (-6237.104, -6241.621, -6235.368),
        (73.871, 74.968, 77.516),
    ),
    ("celeba", "attributes", "jmvae"): (
        (-6234.542, -6238.280, -6235.330),
        (80.808, 81.312, 335.046),
    ),
    ("celeba/each", "+".join(_ATTRIBUTES), "mvae"): (
        (-6236.113, -6239.957, -6233.330),
        (71.546, 71.953, 71.603),
    ),
}


def _likelihoods() -> Iterator[Published]:
    paper = "Wu & Goodman 2018 (MVAE), supplement, table"
    for (dataset, other, model), (log_p, variances) in _IMAGE_AND_OTHER.items():
        given = f"conditional/image|{other}"
        names = ("marginal/image", "joint", given)
        named = {f"log_likelihood/{n}": v for n, v in zip(names, log_p, strict=True)}
        yield from _whole(dataset, model, f"{paper} 1", named)
        names = (f"marginal_from_all/image|{other}", "joint", given)
        named = {f"log_weight_variance/{n}": v for n, v in zip(names, variances, strict=True)}
        yield from _whole(dataset, model, f"{paper} 2", named)


# --- coherence ----------------------------------------------------------------------------------

_CONDITIONAL, _UNCONDITIONAL = "coherence/conditional/mean", "coherence/unconditional"
_PAIR = "mnist_svhn"
_DIRECTIONS = "mean of both directions"
# Each direction by itself: given, generated.
_TO_MNIST = "coherence/conditional/matrix[svhn,mnist]"
_TO_SVHN = "coherence/conditional/matrix[mnist,svhn]"


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
    for given, value in ((2, 0.77), (3, 0.81), (4, 0.83)):
        named = {f"coherence/given/{given}": value}
        yield from _whole("polymnist", "mopoe", f"MoPoE-VAE, {source}", named)
    mmvae = {_CONDITIONAL: (0.86 + 0.69) / 2, _UNCONDITIONAL: 0.42}
    yield from _whole(_PAIR, "mmvae", f"MMVAE, {source}; {_DIRECTIONS}", mmvae)
    each = {_TO_MNIST: 0.86, _TO_SVHN: 0.69}
    yield from _whole(_PAIR, "mmvae", f"MMVAE, {source}", each)
    # DMVAE paper, supplement, table 2 (b): private codes from the prior. The joint one is quoted.
    cross = {_CONDITIONAL: (0.8373 + 0.8813) / 2}
    yield from _whole(_PAIR, "dmvae", f"DMVAE, supplement, table 2; {_DIRECTIONS}", cross)
    each = {_TO_MNIST: 0.8373, _TO_SVHN: 0.8813}
    yield from _whole(_PAIR, "dmvae", "DMVAE, supplement, table 2", each)
    yield from _whole(_PAIR, "dmvae", f"DMVAE, {source}", {_UNCONDITIONAL: 0.447})
    yield from _whole(_PAIR, "dmvae", "DMVAE, supplement, table 2; mean of both", _instances())
    # MEME paper, table 7. Whether a modality there is given or generated is not said.
    laplace = {_CONDITIONAL: (0.918 + 0.652) / 2}
    source = f"Joy et al. 2022 (MEME), table 7, Laplace codes; {_DIRECTIONS}"
    yield from _whole(_PAIR, "mmvae", source, laplace)


def _instances() -> dict[str, float]:
    """DMVAE paper, supplement, table 2: private codes of the image (a), from the prior (b)."""
    accuracies = {  # of MNIST and of SVHN
        "self/own": (0.9537, 0.8149),
        "joint/own": (0.9583, 0.9054),
        "cross/own": (0.8416, 0.9004),
        "self/prior": (0.9187, 0.7912),
        "joint/prior": (0.9253, 0.8863),
        "cross/prior": (0.8373, 0.8813),
    }
    return {f"coherence/instance/{name}": (a + b) / 2 for name, (a, b) in accuracies.items()}


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


# Table 5: correlation of captions given images, of images given captions, and of real pairs, which
# stands in the rows of all models. The MMVAE paper's joint correlation of 0.263 (as it is quoted)
# stands beside none of ours: it was computed with word vectors and projections of its authors' own,
# and without these a released model of theirs has about 0.1.
_MEME_REAL_BIRDS = 0.106
_MEME_BIRDS = {
    ("meme", "always:image"): ((0.064, 0.042, 0.026, 0.029), (0.074, 0.058, 0.051, 0.046)),
    ("meme", "always:caption"): ((0.064, 0.062, 0.048, 0.052), (0.074, 0.059, 0.050, 0.053)),
    ("meme", "split"): ((0.064, 0.046, 0.031, 0.027), (0.074, 0.061, 0.047, 0.049)),
    ("mmvae", ""): ((0.060,), (0.058,)),
    ("mvae", "always:image"): ((-0.002, 0.0, 0.001, -0.001), (-0.002, -0.002, -0.002, -0.001)),
    # Another row prints -0.002 of all pairs and images given captions.
    ("mvae", "always:caption"): ((-0.002, 0.0, 0.0, 0.001), (None, -0.001, -0.003, -0.002)),
    ("mvae", "split"): ((-0.002, 0.0, 0.0, -0.001), (-0.002, -0.002, -0.002, -0.002)),
}
# Table 6: mutual information of classes and judge, of MNIST and of SVHN. Rows that repeat table 4
# or whose columns are in another order are left out, and of the two numbers of MEME on MNIST with
# all pairs (0.075, 0.073) the second.
_MEME_SURENESS = {
    ("meme", "always:svhn"): (
        (0.075, 0.086, 0.101, 0.102, 0.103),
        (0.036, 0.047, 0.071, None, 0.134),
    ),
    ("meme", "always:mnist"): (
        (None, 0.087, 0.101, 0.099, 0.104),
        (0.036, 0.048, 0.085, 0.111, 0.142),
    ),
    ("mmvae", ""): ((0.105,), (0.042,)),
    ("mvae", "always:svhn"): (
        (0.110, 0.107, 0.106, 0.106, 0.142),
        (0.163, 0.166, 0.165, 0.164, 0.176),
    ),
    ("mvae", "always:mnist"): ((), (0.163, 0.175, 0.17, 0.174, 0.182)),
    ("mvae", "split"): ((), (0.163, 0.165, 0.172, 0.173, 0.179)),
}


def _mutual_supervision() -> Iterator[Published]:
    paper = "Joy et al. 2022 (MEME), table"
    for (model, partial), (to_svhn, to_mnist, mnist, svhn) in _MEME.items():
        rows = {
            _CONDITIONAL: (f"{paper} 3; {_DIRECTIONS}", _means(to_svhn, to_mnist)),
            _TO_SVHN: (f"{paper} 3", to_svhn),
            _TO_MNIST: (f"{paper} 3", to_mnist),
            "probe/shared/mnist": (f"{paper} 4", mnist),
            "probe/shared/svhn": (f"{paper} 4", svhn),
            "probe/shared/mean": (f"{paper} 4; mean of both modalities", _means(mnist, svhn)),
        }
        for metric, (source, values) in rows.items():
            by_fraction = dict(zip(_SUPERVISION, values, strict=False))
            yield from _by_fraction(_PAIR, model, metric, source, by_fraction, partial)
    for table, dataset, found, metrics in (
        ("5", "cub", _MEME_BIRDS, ("cca/cross/caption|image", "cca/cross/image|caption")),
        (
            "6 (it does not say how its process was made)",
            _PAIR,
            _MEME_SURENESS,
            tuple(f"mutual_information_score/reconstruction/{m}" for m in ("mnist", "svhn")),
        ),
    ):
        for (model, partial), rows in found.items():
            for metric, values in zip(metrics, rows, strict=True):
                pairs = zip(_SUPERVISION, values, strict=False)
                printed = {fraction: value for fraction, value in pairs if value is not None}
                source = f"{paper} {table}"
                yield from _by_fraction(dataset, model, metric, source, printed, partial)

    for model in dict.fromkeys(model for model, _ in _MEME_BIRDS):
        real = {"cca/real/image+caption": _MEME_REAL_BIRDS}
        yield from _whole("cub", model, f"{paper} 5, ground truth", real)


def _means(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [(a + b) / 2 for a, b in zip(one, other, strict=True)]


# Rows of several kinds of missingness share their entry without any.
ENTRIES = tuple(
    dict.fromkeys(
        [
            *_few_labels(),
            *_attributes(),
            *_likelihoods(),
            *_coherence(),
            *_mutual_supervision(),
        ]
    )
)
