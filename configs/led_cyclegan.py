"""The degradation of LED on chest X-rays, learnt without pairs: CycleGAN between low and high quality, the first stage of Arlide,
Grzywocz and U, "Chest X-Ray Image Enhancement Using The LED Framework"; paper 004.

    medjax train --config=led_cyclegan:small --workdir=runs/led_cyclegan
    medjax train --config=led_cyclegan:small_nih --config.data.root=DIR --workdir=runs/led_cyclegan_nih
    medjax degrade --workdir=runs/led_cyclegan --output=runs/led_pairs

| variant | what | cost |
|---|---|---|
| paper | PadChest, 1,000 and 1,000 images at 256 pixels, ResNet-9, 80 epochs, the log loss as written | hours on a GPU |
| small | phantoms at 64 pixels by dose, ResNet-6 of width 16, least squares, identity | half an hour on 2 CPU cores |
| small_nih | NIH images against those of other patients at low simulated dose, at 96 pixels | 25 minutes on 2 CPU cores |
| tiny | for tests | seconds |

The number to reach: enhanced phantoms (`small`) nearer to their truth than the input, 28.3 dB and an SSIM of 0.878 against
28.3 and 0.841 on 160 test images of the study, whose phantoms have masses and which keeps a fifth of them for testing. The
paper gives no figure of this stage, nor its exposures: `low_exposure` and `high_exposure` are ours, and its 1,000 and 1,000 are
the lowest exposures and those nearest to zero. Its batch size is CycleGAN's, one. The log loss as it is written has hardly a
slope where a discriminator wins; least squares (`--config.method.adversary=lsgan`) is CycleGAN's own.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common

VARIANTS = ("paper", "small", "small_nih", "tiny")
DOSE = ("low_dose", "gaussian_blur")


def get_config(variant: str = "paper") -> ConfigDict:
    """The config of `variant`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
    config = common.run(
        "led_cyclegan",
        variant,
        method=method(),
        generator={"name": "resnet", "features": 64, "blocks": 9, "norm": "instance", "dropout": 0.0},
        discriminator={"name": "patchgan", "features": 64, "layers": 3, "norm": "instance"},
        optimizer=common.optimizer(learning_rate=1e-4, schedule="constant"),
        data=common.data(),
        train=common.train(epochs=80, best="step:max", eval_every=4000, save_every=4000, sample_every=4000),
    )
    config.data.degradation.steps = ()
    config.data.update(source="padchest", load_size=256, flip=False)  # a heart lies on the left in both pools
    config.data.padchest.update(low_limit=1000, high_limit=1000, shared="low")
    if variant == "paper":
        config.method.update(adversary="minimax", discriminator_weight=1.0)
    if variant == "small":
        _small(config)
        config.data.update(source="phantom_pools", image_size=64, load_size=64, crop_size=64)
        config.data.phantom_pools.update(count=1600, dose=1e-4)
        config.data.degradation.update(steps=("gaussian_blur",))
        config.data.degradation.gaussian_blur.sigma = 0.7
    if variant == "small_nih":
        _small(config)
        config.data.update(source="unpaired", image_size=96, load_size=96, crop_size=96)
        config.data.unpaired.update(low="nih_cxr14", high="nih_cxr14")
        config.data.degradation.update(steps=DOSE)
        config.data.degradation.gaussian_blur.sigma = 0.7
        config.data.degradation.low_dose.update(photons=400.0)
    if variant == "tiny":
        _tiny(config)
    return config


def method() -> dict:
    """CycleGAN (Zhu et al. 2017)."""
    return {
        "name": "cyclegan",
        "adversary": "lsgan",  # minimax: the log loss as it is written; vanilla, hinge, relativistic_average
        "cycle_weight": 10.0,
        "identity_weight": 0.0,  # of leaving alone what is of the wanted quality already
        "structure_weight": 0.0,  # StillGAN's terms (Ma et al. 2021), who take 5 and 1
        "illumination_weight": 0.0,
        "discriminator_weight": 0.5,
        "pool": 50,  # earlier images that the discriminators are shown half of the time; 0: none
    }


def _small(config: ConfigDict) -> None:
    config.method.identity_weight = 5.0
    config.generator.update(features=16, blocks=6)
    config.discriminator.update(features=32, layers=2)  # a receptive field of 34 pixels
    config.optimizer.update(learning_rate=2e-4, schedule="linear")
    config.data.batch_size = 4
    config.train.update(epochs=0, steps=3000, ema=0.995, log_every=25, eval_every=500, save_every=500, sample_every=500)


def _tiny(config: ConfigDict) -> None:
    """With everything that could break a resume: batch norm, dropout, a pool, an average."""
    config.method.update(pool=3, identity_weight=1.0)
    config.generator.update(features=4, blocks=1, norm="batch", dropout=0.5)
    config.discriminator.update(features=4, layers=2, norm="batch")
    config.data.update(source="phantom_pools", image_size=32, load_size=36, crop_size=32, batch_size=2, threads=1)
    config.data.update(split=(0.5, 0.25, 0.25), flip=True)
    config.data.phantom_pools.update(count=24, dose=1e-3)
    config.evaluation.baselines = ("gaussian", "clahe")
    config.train.update(
        epochs=0, steps=4, ema=0.9, log_every=1, eval_every=2, save_every=2, sample_every=4, eval_images=4, progress=False
    )
