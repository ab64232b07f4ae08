"""What a column is called, how many digits it has, and in which direction it is better."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence

from mmvae_jax.comparison.runs import Run
from mmvae_jax.types import UserError, nearest

HIGHER, LOWER, NEITHER = "higher", "lower", ""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes:
      name: its flat name in ``results.json``.
      label: heading.
      better: `HIGHER`, `LOWER`, or `NEITHER` where no direction is better.
      digits: decimals; None: four significant ones of the largest value.
    """

    name: str
    label: str
    better: str = NEITHER
    digits: int | None = None

    def decimals(self, values: Iterable[float]) -> int:
        """Decimals of a column that holds these values."""
        if self.digits is not None:
            return self.digits
        largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
        return max(0, 3 - math.floor(math.log10(largest))) if largest else 3


_BETWEEN_NAMES = re.compile(r",(?![^\[]*\])")
# The columns of every table, in this order, where a run has them.
DEFAULTS = {
    metric.name: metric
    for metric in (
        Metric("coherence/conditional/mean", "cond. coherence", HIGHER, 3),
        Metric("coherence/unconditional", "uncond. coherence", HIGHER, 3),
        Metric("probe/shared/mean", "shared probe", HIGHER, 3),
        # The class in a private code is leakage where classes are shared, but not always unwanted.
        Metric("probe/private/mean", "private probe", NEITHER, 3),
        # Draws that ignore what is given differ the most.
        Metric("diversity/conditional/mean", "diversity", NEITHER, 4),
        Metric("classification/accuracy", "label accuracy", HIGHER, 3),
        Metric("bound/test", "bound (nats)", HIGHER, 1),
        # Of the machine and what else ran on it as much as of the model.
        Metric("seconds/train", "training (s)", NEITHER, 0),
    )
}

# Direction and digits of all the others, by how their names begin.
_FAMILIES = (
    ("coherence/", HIGHER, 3),
    ("probe/private/", NEITHER, 3),
    ("probe/", HIGHER, 3),
    ("classification/", HIGHER, 3),
    ("classifier/accuracy/", NEITHER, 3),  # of the judge, not of the model
    ("robustness/error/", LOWER, 4),
    ("robustness/", HIGHER, 3),
    *((f"mutual_information_score/{kind}/", NEITHER, 3) for kind in ("accuracy", "noise", "real")),
    ("mutual_information_score/", LOWER, 3),
    # Of generated items that belong together; those of real ones are there for scale.
    ("cca/cross/", HIGHER, 3),
    ("cca/joint/", HIGHER, 3),
    ("cca/", NEITHER, 3),
    ("captions/judge/", NEITHER, 3),  # on real images
    ("captions/", HIGHER, 3),
    ("log_likelihood/", HIGHER, 1),
    ("effective_sample_fraction/", HIGHER, 3),
    ("log_weight_variance/", LOWER, 1),
    ("bound/", HIGHER, 1),
    ("diversity/", NEITHER, 4),
    ("quality/classifier_frechet/", LOWER, 2),
    ("quality/classifier_kid/", LOWER, 3),
    ("quality/classifier_", HIGHER, 3),  # precision and recall
    ("quality/fid/", LOWER, 2),
    ("quality/kid/", LOWER, 4),
    ("quality/inception_", HIGHER, 3),  # precision and recall
    ("quality/mse/", LOWER, 4),
    ("quality/ssim/", HIGHER, 3),
    ("retrieval/median_rank/", LOWER, 1),
    ("retrieval/", HIGHER, 3),
    ("relatedness/auc/", HIGHER, 3),
    ("relatedness/", NEITHER, 3),
    ("information/", NEITHER, 2),
    ("importance/accuracy/", HIGHER, 3),
    ("importance/dimensions/", NEITHER, 0),
    ("importance/", NEITHER, 3),
    ("seconds/", NEITHER, 0),
    ("step", NEITHER, 0),
)


def metric(name: str) -> Metric:
    """The column of that name; one that nothing is known of has no direction."""
    if name in DEFAULTS:
        return DEFAULTS[name]
    for beginning, better, digits in _FAMILIES:
        if name.startswith(beginning):
            return Metric(name, name, better, digits)
    return Metric(name, name)


def chosen(names: str, runs: Sequence[Run], flag: str = "--metrics") -> list[Metric]:
    """The columns of these names, separated by commas; the default ones where there are none.

    Commas in square brackets belong to a name, that of a matrix's cell.

    Raises:
      UserError: no run has a metric of that name, or it is an array.
    """
    if not names.strip():
        return list(DEFAULTS.values())
    parts = (re.sub(r"\s*,\s*", ",", name.strip()) for name in _BETWEEN_NAMES.split(names))
    wanted = list(dict.fromkeys(name for name in parts if name))
    if not wanted:
        raise UserError(f"{flag}={names}: names no metric")
    scalars = {name: None for run in runs for name in run.numbers}
    known = {**scalars, **dict.fromkeys(DEFAULTS)}
    known |= {name: None for run in runs for name in run.skipped if name not in known}
    for name in wanted:
        if any(name in run.arrays for run in runs):
            mean = f"{name.rpartition('/')[0]}/mean"
            instead = f"; there is {mean}" if mean in known else ""
            cells = [cell for cell in known if cell.startswith(f"{name}[")]
            instead += f"; {cells[0]} is one of its cells" if cells else ""
            raise UserError(f"{flag}: {name!r} is an array, not a number{instead}")
        if name not in known:
            raise UserError(
                f"{flag}: no run has a metric {name!r}{nearest(name, known) or _one_of(known)}"
            )
    return [metric(name) for name in wanted]


def _one_of(known: Iterable[str]) -> str:
    names = list(known)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"; there are {', '.join(names[:12])}{more}"
