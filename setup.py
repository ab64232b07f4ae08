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
    # Lower bounds are near what was tried (launch/constraints.txt has the exact versions); upper
    # ones exclude the next release that may break what it promised: major, or minor below 1.0.
    install_requires=[
        "absl-py>=2.3,<3",
        "chex>=0.1.90,<0.2",  # for functional tests of estimators, ours and the user's
        # Downloads are all that these four are for (mmvae_jax/data/transfer.py).
        "tensorflow-datasets>=4.9.9,<5",
        "importlib_resources>=6.5,<8",  # tensorflow-datasets without TensorFlow asks for it
        "requests>=2.32,<3",
        "beautifulsoup4>=4.12,<5",  # tensorflow-datasets reads Google Drive's forms with it
        "distrax>=0.1.8,<0.2",
        "flax>=0.12,<0.13",
        "jax>=0.10,<0.12",
        "jaxlib>=0.10,<0.12",
        "matplotlib>=3.10,<4",
        "ml-collections>=1.1,<2",
        "numpy>=2.3,<3",
        "optax>=0.2.6,<0.3",
        "orbax-checkpoint>=0.11.30,<0.13",
        "pillow>=12,<14",
        "safetensors>=0.8,<0.9",
        "scikit-learn>=1.7,<2",
        "scipy>=1.16,<2",
        "tensorboardX>=2.6.4,<3",
        "tqdm>=4.67,<5",
    ],
    extras_require={
        # Other minor versions of ruff format differently.
        "test": [
            "hypothesis>=6.140,<7",
            "pytest>=9,<10",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17,<0.18",
        ],
        # For `python -m mmvae_jax.features` alone.
        "features": [
            "tokenizers>=0.22,<0.24",
            "torch>=2.8,<3",
            "torchvision>=0.23,<0.30",
            "transformers>=5,<6",
        ],
        # To convert a published checkpoint, once: python -m mmvae_jax.convert_inception. Earlier
        # versions could be made to run code by a file of weights.
        "inception": ["torch>=2.6,<3"],
        "cuda": ["jax[cuda12]>=0.10,<0.12"],
        "tpu": ["jax[tpu]>=0.10,<0.12"],
    },
)
