"""Chest X-rays from 128 to 512 pixels by SRGAN (Ledig et al. 2017), the second half of Woloszyn, "Memory-Efficient Deep
Learning for High-Resolution Synthetic Chest X-ray Generation".

    medjax train --config=srgan_cxr:srresnet_small --config.data.root=DIR --workdir=runs/srresnet
    medjax train --config=srgan_cxr:small --config.data.root=DIR --config.init_from=runs/srresnet --workdir=runs/srgan

Two runs: SRResNet by a pixel loss first, then SRGAN from its weights.

| variant | what | cost |
|---|---|---|
| srresnet | SRResNet (1.5M) by the squared error, x4 at 512, crops of 96 | 200,000 steps of 0.14 TFLOP: half an hour on a GPU |
| paper | SRGAN on VGG19 features; needs its weights | 200,000 steps of 0.7 TFLOP: an hour on a GPU |
| srresnet_small | 16 convolutions of 48 features on the coarse grid (0.3M), by L1 | 25 minutes on 2 CPU cores |
| small | its GAN phase, without VGG19 | 15 minutes on 2 CPU cores |
| srresnet_tiny | phantoms, for tests | seconds |
| tiny | its GAN phase, which begins untrained too | seconds |

The number to reach: the first phase 0.6 dB above bicubic (about 34.8 dB on NIH images at 512); the GAN about 2 dB below it, and
a smaller FID. The paper prints three images and no number.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common, esrgan

VARIANTS = ("paper", "small", "tiny", "srresnet", "srresnet_small", "srresnet_tiny")


def get_config(variant: str = "paper") -> ConfigDict:
    """The config of `variant`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
    first = variant.startswith("srresnet")
    config = common.run(
        "srgan_cxr",
        variant,
        method={"name": "supervised", "reconstruction": "l2"},
        generator=esrgan.srresnet(),
        optimizer=common.optimizer(learning_rate=1e-4, b1=0.9, schedule="constant"),
        data=esrgan.enlarged(common.data()),
        train=common.train(steps=200_000, ema=0.999, eval_every=5000, save_every=5000, sample_every=20_000, log_every=100),
    )
    config.evaluation.baselines = ("nearest", "bilinear", "bicubic", "lanczos")
    config.data.update(image_size=512, load_size=512, crop_size=96, batch_size=16)
    if not first:
        perceptual = common.perceptual(weight=0.006, layers=("relu5_4",), distance="l2")
        loss = {"adversary": "vanilla", "adversarial_weight": 1e-3, "reconstruction_weight": 0.0, "perceptual": perceptual}
        judge = {**esrgan.vgg_style(), "stages": 4, "down_kernel": 3, "dense": 1024, "grid": 6}
        esrgan.second_phase(config, esrgan.method("srgan", **loss), judge)
        config.optimizer.update(schedule="linear", constant_share=0.5)
    size = variant.removeprefix("srresnet").removeprefix("_")
    if size in ("small", "tiny"):
        getattr(esrgan, size)(config)
    if first and size == "small":
        config.method.reconstruction = "l1"
    if variant == "tiny":
        config.train.needs_init = False
    return config
