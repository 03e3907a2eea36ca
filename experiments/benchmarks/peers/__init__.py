"""The published networks in PyTorch, written as its users write them: what the benchmarks run medjax against.

One module for each model: the same layers, losses and optimisers as medjax has for the config, layer for layer, so that
parameters are as many. A peer is `make(options) -> Peer`; options come from `experiments.benchmarks.cases`. Images are float32
`[B, C, H, W]` in [-1, 1]. Submodules carry the names of the Flax modules, so `load_flax` copies weights across.
"""

from experiments.benchmarks.peers.common import build, count, load_flax
from experiments.benchmarks.peers.pix2pix import PatchGAN, Pix2Pix, UNet

__all__ = ["PatchGAN", "Pix2Pix", "UNet", "build", "count", "load_flax"]
