"""Super-resolution of X-ray, CT and MRI slices by ESRGAN (Wang et al. 2018): "Improving Medical Image Quality Using GANs".

    medjax train --config=esrgan:small --config.data.root=DIR --workdir=runs/l1
    medjax train --config=esrgan:small_gan --config.data.root=DIR --config.init_from=runs/l1 --workdir=runs/gan

Two runs: L1 first, then the GAN from its weights (`_gan`), which looks sharper and scores lower. The enlargement is
`--config.data.scale=2`, 4 or 8.

| variant | what | cost |
|---|---|---|
| paper | RRDBNet (16.7M), x4 at 256, batch 16, 100 epochs of chest X-rays, by L1 | 1.7 TFLOP a step: hours on a GPU for NIH |
| paper_gan | the relativistic GAN on VGG19 features; needs its weights | 3 TFLOP a step |
| light | an RRDBNet for real time (0.6M): 3 blocks of 32 features, one pixel shuffle | 30 minutes on 2 CPU cores |
| small | 16 convolutions of 48 features on the coarse grid (0.3M), chest X-rays x4 at 512, by L1 | 25 minutes on 2 CPU cores |
| small_gan | its GAN phase, without VGG19 | 15 minutes on 2 CPU cores |
| small_ct | CT slices at 512 in -1000 to 400 HU; a folder of DICOM files for each patient | as small |
| small_ct_gan | its GAN phase | as small_gan |
| small_mri | T1 slices of heads at 192 pixels of 1 mm; NIfTI files called NAME-T1 | as small |
| small_mri_gan | its GAN phase | as small_gan |
| small_all | one model of the three, in folders cxr_nih, ct and mri_t1_t2 of DIR, at 256 | as small |
| tiny | phantoms, for tests | seconds |
| tiny_gan | its GAN phase | seconds |

The number to reach, x4 on NIH images at 512: Pillow's bicubic has about 34.8 dB; the L1 phase 0.6 dB more and 0.4 dB more than
Lanczos. The paper prints 24.9 to 28.6 dB of five images and no bicubic row.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common

VARIANTS = (
    "paper", "paper_gan", "light", "small", "small_gan", "small_ct", "small_ct_gan", "small_mri", "small_mri_gan", "small_all",
    "tiny", "tiny_gan",
)  # fmt: skip


def get_config(variant: str = "paper") -> ConfigDict:
    """The config of `variant`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
    size, gan = variant.removesuffix("_gan"), variant.endswith("_gan")
    config = common.run(
        "esrgan",
        variant,
        method={"name": "supervised", "reconstruction": "l1"},
        generator=rrdb(),
        optimizer=common.optimizer(learning_rate=2e-4, b1=0.9),
        data=enlarged(common.data()),
        train=common.train(epochs=100, ema=0.999, eval_every=5000, save_every=5000, sample_every=5000, log_every=100),
    )
    config.evaluation.baselines = ("nearest", "bilinear", "bicubic", "lanczos")
    config.data.update(image_size=256, load_size=256, crop_size=128, batch_size=16, rotate=15.0, zoom=0.1)
    config.data.elastic.alpha = 2.0
    if gan:
        second_phase(config, method("esrgan"), vgg_style())
    if size != "paper":
        {"tiny": tiny, "light": light}.get(size, small)(config)
    if size in ("small_ct", "small_mri", "small_all"):
        modality(config, size.removeprefix("small_"))
    return config


def modality(config: ConfigDict, name: str) -> None:
    """CT slices, MR slices, or these and chest X-rays in equal numbers."""
    # The last folder of a slice's path is the patient; fields of view are padded with -3024 HU, clipped by the window.
    config.data.folder.update(value_range=(-1000.0, 400.0), recursive=True, patient_pattern="([^/]+)/[^/]+$", modality="CT")
    config.data.mri_slices.update(range_mm=(-45.0, 45.0), step_mm=3.0, fov_mm=192.0)
    if name == "ct":
        config.data.update(source="folder", split=(0.6, 0.2, 0.2))
    if name == "mri":
        config.data.update(source="mri_slices", image_size=192, load_size=192)
    if name == "all":
        config.data.update(source="mixed", image_size=256, load_size=256, balance="oversample")
        config.data.mixed.kinds = ("nih_cxr14:cxr_nih", "folder:ct", "mri_slices:mri_t1_t2")


def rrdb() -> dict:
    """ESRGAN's generator; its enlargement is `data.scale`."""
    return {
        "name": "rrdb",
        "features": 64,
        "blocks": 23,
        "growth": 32,
        "base": "none",  # the enlargement that it corrects: none, bilinear, bicubic
        "direct": False,  # a light tail: one pixel shuffle in place of convolutions on the fine grid
    }


def srresnet() -> dict:
    """SRGAN's generator; its enlargement is `data.scale`."""
    return {"name": "srresnet", "features": 64, "blocks": 16, "base": "bilinear", "direct": False}


def vgg_style() -> dict:
    """ESRGAN's discriminator, for crops of 128; at other sizes its last maps are averaged to the same grid."""
    return {
        "name": "srgan",
        "features": 64,
        "stages": 5,  # each halves the image
        "down_kernel": 4,
        "dense": 100,
        "grid": 4,  # of the last maps that the dense layers see; 1: their average
        "norm": "batch",  # batch, instance, group, none
        "spectral": False,  # kernels under spectral norm
    }


def method(name: str, **changes: object) -> dict:
    """The GAN phase as published; pixel losses are over [-1, 1]."""
    return {
        "name": name,  # srgan, esrgan: the same but for their defaults in a notebook
        "adversary": "relativistic_average",  # relativistic_hinge, vanilla, lsgan, hinge
        "adversarial_weight": 5e-3,
        "reconstruction": "l1",
        "reconstruction_weight": 1e-2,
        "r1": 0.0,  # gamma of the gradient penalty; 0: none
        "perceptual": common.perceptual(weight=1.0),
        **changes,
    }


def enlarged(data: dict) -> dict:
    """Inputs with four times fewer pixels along a side: antialiased bicubic; blur, noise and JPEG may stand around it."""
    data["scale"] = 4
    data["degradation"]["steps"] = ("downsample",)
    return data


def second_phase(config: ConfigDict, method: dict, discriminator: dict) -> None:
    """The GAN from the weights of the first phase; what is kept is its end, as PSNR only falls."""
    config.method = ConfigDict(method)
    config.discriminator = ConfigDict(discriminator)
    config.optimizer.learning_rate = 1e-4
    config.train.update(needs_init=True, best="step:max")


def small(config: ConfigDict) -> None:
    """What 2 CPU cores train in minutes: all convolutions on the coarse grid, correcting the bicubic enlargement."""
    config.generator = ConfigDict({**srresnet(), "features": 48, "blocks": 8, "base": "bicubic", "direct": True})
    config.data.update(image_size=512, load_size=512, crop_size=128, batch_size=8, rotate=0.0, zoom=0.0)
    config.data.elastic.alpha = 0.0
    config.optimizer.update(learning_rate=1e-3, schedule="cosine", clip=1.0, warmup=100)
    config.train.update(steps=16_000, epochs=0, log_every=50, eval_every=1000, save_every=1000, sample_every=4000, eval_images=16)
    if config.train.needs_init:
        config.method.update(adversarial_weight=1e-2, reconstruction_weight=1.0)
        config.method.perceptual.weight = 0.0
        config.discriminator.update(features=24, stages=4, grid=1, dense=128)
        config.optimizer.update(learning_rate=2e-4, warmup=0)
        config.data.crop_size = 96
        config.train.update(steps=4000, eval_every=500, save_every=500, sample_every=1000)


def light(config: ConfigDict) -> None:
    """The RRDBNet that a real-time use would have."""
    small(config)
    config.train.steps = 7000
    config.generator = ConfigDict({**rrdb(), "features": 32, "blocks": 3, "growth": 16, "base": "bicubic", "direct": True})


def tiny(config: ConfigDict) -> None:
    """Two blocks, phantoms, four steps."""
    small(config)
    config.generator.update(features=8, blocks=2)
    config.data.update(source="phantom_cxr", image_size=32, load_size=36, crop_size=32, batch_size=2, threads=1)
    config.data.phantom_cxr.count = 24
    config.optimizer.warmup = 0
    config.train.update(steps=4, log_every=1, eval_every=2, save_every=2, sample_every=4, progress=False)
    if config.train.needs_init:
        config.discriminator.update(features=4, stages=2, dense=8)
