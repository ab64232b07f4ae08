"""What a trained model shows and how well it does, from Python: figures and metrics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmvae_jax import data, training
from mmvae_jax.types import UserError, Variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmvae_jax.evaluation import Measured


class Reporting:
    """The part of `inference.Trained` that needs Matplotlib, or the data that it was trained on."""

    model: Any
    variables: Variables
    config: Mapping[str, Any]
    step: int
    workdir: Path

    def _items(self, batch: Mapping[str, Any]) -> data.Items:
        """A batch as the class takes it, with what is missing marked."""
        raise NotImplementedError

    def dataset(self) -> data.Dataset:
        """The data set that the run was trained on.

        Where training drew binary images anew at each step, training rows are one fixed draw here.

        Raises:
          UserError: what its config names is not there, or has changed since.
        """
        options = self.config["data"]
        dataset = data.load(options["name"], options, seed=options["seed"])
        about = training.read_run(self.workdir).get("dataset") or {}
        if dataset.fingerprint != about.get("fingerprint"):
            raise UserError(
                f"the data that config.data names ({dataset.provenance}) is not what this run was "
                "trained on: put the original files back"
            )
        return dataclasses.replace(dataset.drawn(), specs=self.model.specs)

    def figures(
        self, names: Sequence[str] = (), batch: Mapping[str, Any] | None = None
    ) -> dict[str, Figure]:
        """Figures of the report as Matplotlib's, for a notebook or a paper.

        Of a figure of several sheets ``NAME`` is the first, ``NAME_2`` the second. Figures of what
        was measured need a ``results.json`` of this very step.

        Args:
          names: which of ``mmvae_jax.report.FIGURES``; all where there are none. What has no
            content for this model and these items is not among them.
          batch: items to show in place of the test rows; a ``label`` [B] among them (int) is
            their class.

        Raises:
          UserError: there is no figure of such a name, or the batch does not fit.
        """
        return self._draw_figures(names, batch)[0]

    def figure(self, name: str, batch: Mapping[str, Any] | None = None) -> Figure:
        """One of `figures`, its first sheet; UserError with the reason where it has no content."""
        drawn, skipped = self._draw_figures([name], batch)
        if name in skipped:
            raise UserError(f"figure {name!r}: {skipped[name]}")
        return drawn[name]

    def _draw_figures(
        self, names: Sequence[str], batch: Mapping[str, Any] | None
    ) -> tuple[dict[str, Figure], dict[str, str]]:
        # Here: a program that draws nothing need not wait for Matplotlib.
        from mmvae_jax import evaluation, report

        dataset = self._own_dataset if batch is None else self._with_rows(batch)
        # What was measured was measured on the run's own rows.
        file = self.workdir / evaluation.RESULTS_FILE
        results = evaluation.results_at(file, self.step)[0] if batch is None else {}
        arguments = (self.model, self.variables, dataset, self.config, self.workdir, results)
        return report.draw(report.view_of(*arguments), names)

    def evaluate(
        self,
        metrics: str | Sequence[str] = (),
        batch: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Measured:
        """Measures without writing ``results.json``: {name: value, standard error, n, how}.

        The result prints as a table. Its ``skipped`` holds {name: reason} of what this model or
        these items do not allow, and of what was not asked for because it takes longer.

        Args:
          metrics: which of ``mmvae_jax.evaluation.METRICS``. Where there are none, those of the
            command line: every metric that does not take long; ``"all"`` for these, too.
          batch: items in place of the test rows; a ``label`` [B] among them (int) is their class.
            Classifiers and probes learn from the run's training rows.
          **settings: in place of those of ``config.evaluation``.

        Raises:
          UserError: there is no metric of such a name, or the batch does not fit.
        """
        from mmvae_jax import evaluation

        names = metrics if isinstance(metrics, str) else ",".join(metrics)
        evaluation.chosen(names)  # before data are read
        dataset = self._own_dataset if batch is None else self._with_rows(batch)
        wanted = {**self.config["evaluation"], "split": "test", "num_examples": 0, **settings}
        context = evaluation.Context(
            model=self.model,
            variables=self.variables,
            dataset=dataset,
            settings=evaluation.Settings.from_config({**wanted, "metrics": names}),
            workdir=self.workdir,
            step=self.step,
        )
        return evaluation.measured(context)

    @functools.cached_property
    def _own_dataset(self) -> data.Dataset:
        return self.dataset()

    def _as_rows(self, batch: Mapping[str, Any]) -> data.Split:
        """Items as a split; what is called ``label`` and no modality is their class."""
        label = None
        if "label" in batch and "label" not in self.model.names:
            label = np.asarray(batch["label"])
            batch = {name: values for name, values in batch.items() if name != "label"}
        items = self._items(batch)
        size = len(next(iter(items.present.values())))
        if label is not None and (label.shape != (size,) or label.dtype.kind not in "iu"):
            kind = f"{label.dtype} {list(label.shape)}"
            raise UserError(f"label must be a whole number for each of {size} items, is {kind}")
        label = None if label is None else label.astype(np.int32)
        return data.Split(dict(items.batch["x"]), dict(items.present), label)

    def _with_rows(self, batch: Mapping[str, Any]) -> data.Dataset:
        """The run's data set with these items as its test rows."""
        own, rows = self._own_dataset, self._as_rows(batch)
        largest = -1 if rows.label is None else int(rows.label.max())
        # Of a run on data without classes the items may have their own.
        count = own.num_classes or largest + 1
        if largest >= count:
            raise UserError(f"label holds {largest}, this run's classes are 0 to {count - 1}")
        return dataclasses.replace(own, splits={**own.splits, "test": rows}, num_classes=count)
