"""One small model of every kind for three vectors, with linear networks."""

from __future__ import annotations

from mmvae_jax.models.dmvae import DMVAE
from mmvae_jax.models.dmvae_hybrid import HybridDMVAE
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.models.jmvae import JMVAE
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.meme import MEME
from mmvae_jax.models.mmjsd import MMJSD
from mmvae_jax.models.mmvae import MMVAE
from mmvae_jax.models.mmvae_plus import MMVAEPlus
from mmvae_jax.models.mopoe import MoPoE
from mmvae_jax.models.mvae import MVAE
from tests.models import worlds

SHARED = LatentSpace(2)
PLAIN = worlds.specs(weights=(1.0, 0.5, 2.0))
PRIVATE = worlds.specs(private=(2, 0, 1), weights=(1.0, 0.5, 2.0))

MODELS = {
    "mvae": MVAE(specs=PLAIN, shared=SHARED, num_subsets=1),
    "jmvae": JMVAE(specs=PLAIN, shared=SHARED, joint_features=3, joint_hidden=0),
    "mmvae": MMVAE(specs=PLAIN, shared=SHARED, num_samples=2),
    "mopoe": MoPoE(specs=PRIVATE, shared=SHARED),
    "mmjsd": MMJSD(specs=PRIVATE, shared=SHARED),
    "dmvae": DMVAE(specs=PRIVATE, shared=SHARED),
    "dmvae_hybrid": HybridDMVAE(specs=PRIVATE, shared=HybridLatents((3,), 1)),
    "mmvae_plus": MMVAEPlus(specs=PRIVATE, shared=SHARED, num_samples=2, posterior="code"),
    "meme": MEME(specs=PLAIN, shared=SHARED, combination="product", num_samples=2, num_pseudo=4),
}
