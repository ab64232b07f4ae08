"""What a run looks like: figures (PNG and PDF) and one page, ``report.html``, in its workdir."""

from mmvae_jax.report.figures import FIGURES, draw, view_of, write_figures
from mmvae_jax.report.page import write_report

__all__ = ["FIGURES", "draw", "view_of", "write_figures", "write_report"]
