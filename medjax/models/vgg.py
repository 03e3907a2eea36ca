"""VGG16 and VGG19 (Simonyan and Zisserman 2015, configurations D and E) in torchvision's layout, every layer by name.

Input: float32 `[B, H, W, 3]`, RGB, `(x - mean) / std` of images in [0, 1] with mean (0.485, 0.456, 0.406) and std
(0.229, 0.224, 0.225); LPIPS's own scaling is the same numbers for images in [-1, 1]. Any size from 32x32: LPIPS and
perceptual losses resize nothing. torchvision's classification preset is 256 bilinear with antialiasing, then the middle
224x224. Weights: torchvision, `vgg16-397923af.pth` and `vgg19-dcbb9e9d.pth` (the names carry the first digits of the
sha256), code BSD-3-Clause, trained on ImageNet, whose terms apply. 138,357,544 and 143,667,240 parameters.
"""

from __future__ import annotations

import flax.linen as nn

from medjax.models.blocks import Dropout
from medjax.models.conv import max_pool
from medjax.models.layers import Conv2d, adaptive_avg_pool, check_input
from medjax.types import Array, ConfigError

DEPTHS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """`{layer: array}`: conv1_1 (before its ReLU), relu1_1, ..., pool5, and with the classifier relu6, relu7, logits.

    depth: 16 or 19. classifier: the three dense layers, 124 million of the parameters; the convolutions do without.
    """

    depth: int = 16
    classifier: bool = True
    num_classes: int = 1000

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        del train  # no norm; dropout is on when a key is given
        if self.depth not in DEPTHS:
            raise ConfigError(f"VGG has depth 16 or 19, not {self.depth}")
        check_input(x, channels=3, least=32, what=f"VGG{self.depth}")
        taps: dict[str, Array] = {}
        for block, (width, convs) in enumerate(zip(WIDTHS, DEPTHS[self.depth], strict=True), start=1):
            for i in range(1, convs + 1):
                taps[f"conv{block}_{i}"] = x = Conv2d(width, padding=(1, 1), use_bias=True, name=f"conv{block}_{i}")(x)
                taps[f"relu{block}_{i}"] = x = nn.relu(x)
            taps[f"pool{block}"] = x = max_pool(x, 2, 2)
        if not self.classifier:
            return taps
        # PyTorch flattens channels first
        x = adaptive_avg_pool(x, 7).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        for name in ("6", "7"):
            taps[f"relu{name}"] = x = nn.relu(nn.Dense(4096, name=f"fc{name}")(x))
            x = Dropout(0.5)(x)
        taps["logits"] = nn.Dense(self.num_classes, name="fc8")(x)
        return taps


def table(depth: int = 16, *, classifier: bool = True, **_: object) -> dict[str, str]:
    """Flax module -> torchvision's name: convolutions are counted through `features` with their ReLUs and pools."""
    names, index = {}, 0
    for block, convs in enumerate(DEPTHS[depth], start=1):
        for i in range(1, convs + 1):
            names[f"conv{block}_{i}"] = f"features.{index}"
            index += 2
        index += 1
    heads = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    return names | heads if classifier else names
