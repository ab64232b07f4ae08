"""The penultimate layer of a ResNet: 2048 features of an image, averaged over places."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from mmvae_jax.features import weights
from mmvae_jax.types import UserError

SIZE = 224  # pixels of a side
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels
_DEPTHS = {(3, 4, 6, 3): "ResNet-50", (3, 4, 23, 3): "ResNet-101", (3, 8, 36, 3): "ResNet-152"}


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenResNet:
    """A ResNet without its last layer.

    Attributes:
      network: in evaluation mode.
      name: what it is, ``ResNet-101`` where it has that depth.
      normalise: whether channels are shifted and scaled as in its training.
    """

    network: ResNet
    name: str
    normalise: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the features of one image."""
        return (512 * Bottleneck.expansion,)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Features float32 ``[n, 2048]`` of pictures uint8 ``[n, 224, 224, 3]``."""
        device = next(self.network.parameters()).device
        x = torch.tensor(pictures, device=device).permute(0, 3, 1, 2).float() / 255.0
        if self.normalise:
            mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (_MEAN, _STD))
            x = (x - mean) / std
        return self.network(x).cpu().numpy()


def load(path: Path, *, normalise: bool, device: str) -> FrozenResNet:
    """The ResNet of bottleneck blocks whose weights a file holds, however deep it is.

    Raises:
      UserError: the file cannot be read, or holds another network.
    """
    state = weights.read(path)
    depths = tuple(
        len({match[1] for name in state if (match := re.match(rf"layer{stage}\.(\d+)\.", name))})
        for stage in range(1, 5)
    )
    if not all(depths) or "layer1.0.conv3.weight" not in state:
        raise UserError(
            f"--weights={path} are not those of a ResNet of bottleneck blocks, such as "
            "torchvision's resnet101"
        )
    name = _DEPTHS.get(depths, f"ResNet of {'+'.join(map(str, depths))} blocks")
    network = ResNet(Bottleneck, list(depths))
    network.fc = torch.nn.Identity()
    state = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    weights.load_into(network, state, path, f"a {name}")
    return FrozenResNet(network.eval().to(device), name, normalise)
