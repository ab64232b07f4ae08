"""Which of the papers' numbers (`paper_numbers`) stand beside those of a run.

A number is shown where data set, model, kind and fraction of paired rows match; other settings
(epochs, networks) may differ. An estimate of a likelihood is too low by what few draws leave out,
and that of a few rows is of these: it must have taken 1,000 draws or more, as the papers' did, and
all test rows, and likelihoods must be of the papers' kind. Correlations of captions depend on the
vectors of words: without a file of these there is nothing to compare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmvae_jax.comparison.paper_numbers import ENTRIES, Published
from mmvae_jax.comparison.runs import Run

_FEWEST_DRAWS = 1000
# What the evaluation says of a likelihood: a run that is evaluated again keeps its old config.
_DRAWS_ON_ALL_ROWS = re.compile(r"S = (\d+) draws.*; error over all test rows")
_ESTIMATED = ("log_likelihood/", "log_weight_variance/")
_KINDS = ("", "bernoulli", "categorical")  # of likelihoods: "" is the data set's own
# MEME: images as features, captions as plain means of word vectors from a file.
_CORRELATED = re.compile(r"image: itself; captions: plain mean of vectors of \d+")


def find_for(runs: Sequence[Run], metric: str) -> list[Published]:
    """What papers print for the setting of these runs, where each that has the number fits it."""
    measured = [run for run in runs if metric in run.numbers]
    first, *others = (find(run, metric) for run in measured or runs)
    return [entry for entry in first if all(entry in other for other in others)]


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
    """Whether it was measured as in the papers, as far as the numbers depend on it."""
    how = run.numbers[metric].how if metric in run.numbers else ""
    if metric.startswith("cca/"):
        return _CORRELATED.search(how) is not None
    if not metric.startswith(_ESTIMATED):
        return True
    found = _DRAWS_ON_ALL_ROWS.search(how)
    return _has_the_papers_likelihoods(run) and found is not None and int(found[1]) >= _FEWEST_DRAWS


def _has_the_papers_likelihoods(run: Run) -> bool:
    """Bernoulli pixels and attributes, categorical labels and texts: nothing else is in them."""
    model = run.config["model"]
    changed = [values.get("likelihood", "") for values in (model.get("modalities") or {}).values()]
    return all(kind in _KINDS for kind in [model.get("likelihood", ""), *changed])


def _setting(run: Run) -> tuple[str, str, str, float] | None:
    """(data set, model, partial, fraction), or None where the data are not those of any paper."""
    data = run.config["data"]
    partial, fraction = data.get("partial", "none"), data.get("observed", 1.0)
    shortened = any(data.get(key, 0) for key in ("num_train", "num_test"))
    kind = data.get("binarize", "none")
    changed = kind not in ("none", "dynamic") or data.get("rest", "each") != "each"
    made_up = "not the published data" in str(run.dataset.get("provenance", ""))
    few = data["name"] == "polymnist" and data.get("num_modalities") != 5
    cut = data["name"] == "celeba" and data.get("crop", "mvae") != "mvae"
    if shortened or changed or made_up or few or cut or run.split != "test":
        return None
    name = data["name"] if kind == "none" else f"{data['name']}/{kind}"
    if data.get("attributes") == "each":
        name = f"{name}/each"
    if partial == "none" or (partial in ("paired", "always", "split") and fraction == 1.0):
        return name, run.model, "", 1.0
    if partial == "always":
        partial = f"always:{data.get('always', '')}"
    elif partial not in ("paired", "split"):
        return None
    return name, run.model, partial, float(fraction)
