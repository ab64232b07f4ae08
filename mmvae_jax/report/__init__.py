"""Pictures of a run: `write_figures` draws them all into ``figures/`` of its workdir."""

from mmvae_jax.report.figures import FIGURES, draw, view_of, write_figures

__all__ = ["FIGURES", "draw", "view_of", "write_figures"]
