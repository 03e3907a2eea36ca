"""What is done to images under jit: differentiable augmentation, degradation, and batches of images that lie on the device."""

from medjax.images.batches import prepared
from medjax.images.degradation import degrade
from medjax.images.differentiable import POLICY, TRANSFORMS, adjust, cut_out, diffaugment, translate

__all__ = ["POLICY", "TRANSFORMS", "adjust", "cut_out", "degrade", "diffaugment", "prepared", "translate"]
