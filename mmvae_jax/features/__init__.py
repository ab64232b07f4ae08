"""``python -m mmvae_jax.features``: what frozen networks make of images and captions.

Needs the extra `features` (PyTorch); whatever else is in this project does not.
"""
