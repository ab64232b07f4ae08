"""Packaging of mmvae_jax."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="mmvae_jax",
    version="0.1.0",
    description="Multimodal variational autoencoders in JAX: trained, evaluated, compared and used",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["mmvae_jax", "mmvae_jax.*"]),
    python_requires=">=3.11",
    install_requires=[
        "absl-py>=2.1",
        "array-record>=0.7",
        "chex>=0.1.90",
        "distrax>=0.1.8,<0.2",
        "flax>=0.10.4,<1",
        "importlib_resources>=6",  # tensorflow-datasets without TensorFlow asks for it
        "jax>=0.8,<1",
        "jaxlib>=0.8,<1",
        "matplotlib>=3.9,<4",
        "ml-collections>=1.0,<2",
        "numpy>=2.0,<3",
        "optax>=0.2.5,<0.3",
        "orbax-checkpoint>=0.11.20,<0.13",
        "pillow>=11",
        "scikit-learn>=1.5,<2",
        "scipy>=1.13,<2",
        "tensorboardX>=2.6.2,<3",
        "tensorflow-datasets>=4.9.8,<5",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "test": ["hypothesis>=6.100", "pytest>=8", "ruff>=0.9"],
        "cuda": ["jax[cuda12]>=0.8,<1"],
        "tpu": ["jax[tpu]>=0.8,<1"],
    },
)
