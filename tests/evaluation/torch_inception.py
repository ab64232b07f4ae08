"""What PyTorch makes of the weights of `inception_numbers`: writes the fixture of test_inception.

Run as ``python -m tests.evaluation.torch_inception`` from the root of the repository, wherever
PyTorch and NumPy are installed; nothing else is needed. Written apart from the network of the
package, from the structure of the published one: no table, no folding of batch normalisation,
PyTorch's own pooling and resizing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from tests.evaluation import inception_numbers as numbers


class Network:
    """The network as functions: weights are made when their shape is known."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def _tensor(self, name: str, *shape: int) -> torch.Tensor:
        self.shapes[name] = shape
        return torch.from_numpy(numbers.tensor(name, shape))

    def conv(self, x, name, width, kernel=1, stride=1, padding=0):
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight = self._tensor(f"{name}.conv.weight", width, x.shape[1], *kernel)
        x = functional.conv2d(x, weight, stride=stride, padding=padding)
        mean, variance, gain, bias = (
            self._tensor(f"{name}.bn.{part}", width)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = functional.batch_norm(x, mean, variance, gain, bias, training=False, eps=1e-3)
        return functional.relu(x)

    def mixed_5(self, x, name, pooled):
        one = self.conv(x, f"{name}.branch1x1", 64)
        five = self.conv(x, f"{name}.branch5x5_1", 48)
        five = self.conv(five, f"{name}.branch5x5_2", 64, 5, padding=2)
        three = self.conv(x, f"{name}.branch3x3dbl_1", 64)
        three = self.conv(three, f"{name}.branch3x3dbl_2", 96, 3, padding=1)
        three = self.conv(three, f"{name}.branch3x3dbl_3", 96, 3, padding=1)
        pool = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([one, five, three, self.conv(pool, f"{name}.branch_pool", pooled)], 1)

    def mixed_6a(self, x, name="Mixed_6a"):
        three = self.conv(x, f"{name}.branch3x3", 384, 3, stride=2)
        double = self.conv(x, f"{name}.branch3x3dbl_1", 64)
        double = self.conv(double, f"{name}.branch3x3dbl_2", 96, 3, padding=1)
        double = self.conv(double, f"{name}.branch3x3dbl_3", 96, 3, stride=2)
        return torch.cat([three, double, functional.max_pool2d(x, 3, 2)], 1)

    def mixed_6(self, x, name, inner):
        across, down = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
        one = self.conv(x, f"{name}.branch1x1", 192)
        seven = self.conv(x, f"{name}.branch7x7_1", inner)
        seven = self.conv(seven, f"{name}.branch7x7_2", inner, **across)
        seven = self.conv(seven, f"{name}.branch7x7_3", 192, **down)
        double = self.conv(x, f"{name}.branch7x7dbl_1", inner)
        double = self.conv(double, f"{name}.branch7x7dbl_2", inner, **down)
        double = self.conv(double, f"{name}.branch7x7dbl_3", inner, **across)
        double = self.conv(double, f"{name}.branch7x7dbl_4", inner, **down)
        double = self.conv(double, f"{name}.branch7x7dbl_5", 192, **across)
        pool = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([one, seven, double, self.conv(pool, f"{name}.branch_pool", 192)], 1)

    def mixed_7a(self, x, name="Mixed_7a"):
        three = self.conv(x, f"{name}.branch3x3_1", 192)
        three = self.conv(three, f"{name}.branch3x3_2", 320, 3, stride=2)
        seven = self.conv(x, f"{name}.branch7x7x3_1", 192)
        seven = self.conv(seven, f"{name}.branch7x7x3_2", 192, (1, 7), padding=(0, 3))
        seven = self.conv(seven, f"{name}.branch7x7x3_3", 192, (7, 1), padding=(3, 0))
        seven = self.conv(seven, f"{name}.branch7x7x3_4", 192, 3, stride=2)
        return torch.cat([three, seven, functional.max_pool2d(x, 3, 2)], 1)

    def mixed_7(self, x, name, pool):
        one = self.conv(x, f"{name}.branch1x1", 320)
        three = self.conv(x, f"{name}.branch3x3_1", 384)
        double = self.conv(x, f"{name}.branch3x3dbl_1", 448)
        double = self.conv(double, f"{name}.branch3x3dbl_2", 384, 3, padding=1)
        forks = []
        for part, stem in (("branch3x3_2", three), ("branch3x3dbl_3", double)):
            forks.append(self.conv(stem, f"{name}.{part}a", 384, (1, 3), padding=(0, 1)))
            forks.append(self.conv(stem, f"{name}.{part}b", 384, (3, 1), padding=(1, 0)))
        return torch.cat([one, *forks, self.conv(pool, f"{name}.branch_pool", 192)], 1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Pool3 features [N, 2048] of [N, 3, H, W] in [-1, 1]."""
        x = self.conv(x, "Conv2d_1a_3x3", 32, 3, stride=2)
        x = self.conv(x, "Conv2d_2a_3x3", 32, 3)
        x = self.conv(x, "Conv2d_2b_3x3", 64, 3, padding=1)
        x = functional.max_pool2d(x, 3, 2)
        x = self.conv(x, "Conv2d_3b_1x1", 80)
        x = self.conv(x, "Conv2d_4a_3x3", 192, 3)
        x = functional.max_pool2d(x, 3, 2)
        for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
            x = self.mixed_5(x, f"Mixed_5{letter}", pooled)
        x = self.mixed_6a(x)
        for letter, inner in zip("bcde", (128, 160, 160, 192), strict=True):
            x = self.mixed_6(x, f"Mixed_6{letter}", inner)
        x = self.mixed_7a(x)
        pool = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = self.mixed_7(x, "Mixed_7b", pool)
        x = self.mixed_7(x, "Mixed_7c", functional.max_pool2d(x, 3, 1, 1))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


def resized(images: np.ndarray) -> torch.Tensor:
    """[N, 3, 299, 299] in [-1, 1]."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return 2 * functional.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1


@torch.no_grad()
def fixture() -> dict[str, np.ndarray]:
    """What the file holds."""
    places = (slice(None), slice(None), numbers.PLACES, numbers.PLACES)
    return {
        "features": Network()(resized(numbers.images(2, 32, 32))).numpy()[:, numbers.CHANNELS],
        "larger": resized(numbers.images(1, 28, 31))[places].numpy(),
        "smaller": resized(numbers.images(1, 330, 641))[places].numpy(),
    }


if __name__ == "__main__":
    np.savez(numbers.FIXTURE, **fixture())
    print(f"wrote {numbers.FIXTURE}")
