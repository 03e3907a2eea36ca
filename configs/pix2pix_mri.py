"""T1 to T2 brain MRI by pix2pix: Nath, Patel and Amo, "Medical Image Synthesis with Pix2Pix Generative Adversarial Networks".

    medjax train --config=pix2pix_mri:small --config.data.root=DIR --workdir=runs/t2

DIR holds NAME-T1.nii.gz and NAME-T2.nii.gz, flat (IXI as distributed) or in folders T1 and T2.

| variant | what | cost |
|---|---|---|
| paper | U-Net 54.4M, PatchGAN 70, batch 1, 49,200 steps (its "epochs") at 256 | 4 PFLOP: 10 minutes on a data-centre GPU |
| small | a residual network that sees three neighbouring slices, at 128 | under 30 minutes on 2 CPU cores |
| tiny | simulated brains, for tests | seconds |
| mnist | the paper's warm-up: digits and degraded copies, drawn here (MNIST's files: data.source=mnist) | minutes |

What differs from the paper, and why: its slices 90 to 110 of two stacks are other planes and other places (T1 is stored
sagittal, T2 axial, 14 mm apart at best); here both volumes lie on one grid and slices are chosen in millimetres around
the brain's centre. Its rule is `data.mri_pairs.slices=index`. The number to reach: 0.5 dB inside the brain above the
best monotone map of T1 intensity, on subjects not trained on; the paper prints none.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common

VARIANTS = ("paper", "small", "tiny", "mnist")


def get_config(variant: str = "paper") -> ConfigDict:
    """The config of `variant`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
    config = common.run(
        "pix2pix_mri",
        variant,
        method={
            "name": "pix2pix",
            "adversary": "vanilla",
            "reconstruction": "l1",  # the paper: l1 or l2
            "reconstruction_weight": 100.0,
            "feature_matching_weight": 0.0,
            "perceptual": common.perceptual(),
        },
        generator=common.unet(),
        discriminator={"name": "patchgan", "scales": 1, "features": 64, "layers": 3, "norm": "batch"},
        optimizer=common.optimizer(constant_share=1.0),
        data=common.data(),
        train=common.train(steps=49_200, eval_every=4_920, save_every=4_920, sample_every=4_920, log_every=100),
    )
    config.evaluation.baselines = ("linear", "monotone")
    config.data.update(source="mri_pairs", image_size=256, load_size=256, crop_size=256, flip=False)
    config.data.mri_pairs.update(range_mm=(-12.0, 12.0), fov_mm=256.0)
    config.data.degradation.steps = ()
    config.train.best = "psnr_inside:max"
    {"paper": lambda c: None, "small": _small, "tiny": _tiny, "mnist": _mnist}[variant](config)
    return config


def _small(config: ConfigDict) -> None:
    """Slices of the whole brain with their neighbours, trained on 96-pixel crops at the scale they are scored at."""
    config.generator = common.restorer()
    config.discriminator.features = 24
    config.method.reconstruction_weight = 1000.0
    config.optimizer.update(learning_rate=1e-3, discriminator_share=0.1, b1=0.9, schedule="cosine", clip=1.0)
    config.data.update(image_size=128, load_size=128, crop_size=96, crop_align=8, batch_size=4, flip=True)
    config.data.mri_pairs.update(range_mm=(-45.0, 45.0), fov_mm=144.0, context=1)
    config.data.phantom_mri.update(range_mm=(-45.0, 45.0), fov_mm=208.0, context=1)
    config.train.update(steps=6000, ema=0.999, log_every=50, eval_every=500, save_every=500, sample_every=2000, eval_images=0)


def _tiny(config: ConfigDict) -> None:
    config.generator.features = 8
    config.discriminator.update(features=8, layers=2)
    config.data.update(source="phantom_mri", image_size=32, load_size=32, crop_size=32, batch_size=2, threads=1)
    config.data.phantom_mri.update(count=6, step_mm=30.0)
    config.train.update(steps=4, log_every=1, eval_every=2, save_every=2, sample_every=4, progress=False)


def _mnist(config: ConfigDict) -> None:
    config.generator.features = 16
    config.discriminator.update(features=16, layers=2)
    config.data.phantom_digits.count = 2000
    config.data.update(source="phantom_digits", image_size=32, load_size=32, crop_size=32, batch_size=16)
    config.optimizer.constant_share = 0.5
    config.evaluation.baselines = ("linear", "monotone", "median")
    config.train.update(steps=2000, best="psnr:max", log_every=50, eval_every=500, save_every=500, sample_every=500)
