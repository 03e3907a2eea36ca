r"""Labelled chest X-rays from noise by a conditional GAN, the first half of Woloszyn, "Memory-Efficient Deep Learning for
High-Resolution Synthetic Chest X-ray Generation".

    medjax train --config=cgan_cxr:small --workdir=runs/cgan
    medjax train --config=cgan_cxr:small_guided --config.init_from=runs/cgan --config.method.guide.classifier=runs/classifier \
        --workdir=runs/guided
    medjax train --config=cgan_cxr:small_nih --config.data.root=DIR --workdir=runs/cgan_nih

| variant | what | cost |
|---|---|---|
| paper | 128 pixels, three classes, label beside the image, non-saturating, dropout; 7.5M images | 90 PFLOP: hours on a GPU |
| small | 64 pixels of phantoms, projection, R1, differentiable augmentation, EMA | under 45 minutes on 2 CPU cores |
| small_guided | the second phase of small, a classifier trained before shows the generator its classes | 5 minutes more |
| small_nih | the same on No Finding against Pneumonia, beside other labels too | under 45 minutes on 2 CPU cores |
| tiny | for tests | seconds |

The number to reach: a classifier of balanced accuracy 0.9 on real phantoms tells classes of `small_guided` with 0.8; two
images of a class no more alike than real ones (MS-SSIM within 20%), and no nearer to the training set than held-out ones. The
paper prints three images and no FID, and its 5,000 Pneumonia images do not exist: NIH has 1,431, of which 322 show nothing
else, so classes come equally often by repetition. Its width is not stated; this one would take its twelve hours at 96% of
its card's peak.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common

VARIANTS = ("paper", "small", "small_guided", "small_nih", "tiny")
CLASSES = ("No Finding", "Mass", "Pneumonia")


def get_config(variant: str = "paper") -> ConfigDict:
    """The config of `variant`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
    config = common.run(
        "cgan_cxr",
        variant,
        method=method(),
        generator=generator(),
        discriminator=discriminator(),
        optimizer=common.optimizer(schedule="constant"),
        data=common.data(),
        train=common.train(steps=117_000, eval_every=2000, save_every=2000, sample_every=2000, log_every=100),
    )
    config.train.update(best="swd:min", eval_images=1000)
    config.evaluation.baselines = ()
    config.data.update(labels="single", classes=CLASSES, label_mode="any", balance="oversample", min_per_class=100)
    config.data.update(image_size=128, load_size=128, crop_size=128, batch_size=64, flip=False)
    config.data.degradation.steps = ()
    config.data.clahe.clip = 0.02
    config.data.nih_cxr14.labels = CLASSES
    if variant == "paper":  # validation images are not equalised: the nearest to them would be what least looks as it should
        config.train.best = "step:max"
    if variant in ("small", "small_guided"):
        _small(config)
        config.data.update(source="phantom_cxr", balance="none", min_per_class=10)
        config.data.phantom_cxr.update(count=3000, findings=CLASSES)
    if variant == "small_guided":
        _guided(config)
    if variant == "small_nih":
        _small(config)
        _nih(config)
    if variant == "tiny":
        _tiny(config)
    return config


def method() -> dict:
    """The non-saturating conditional GAN."""
    return {
        "name": "cgan",
        "adversary": "vanilla",  # vanilla, hinge, lsgan, relativistic_average
        "latent": 128,  # length of the noise
        "r1": 0.0,  # gamma of the gradient penalty at real images; 0: none
        "augment": (),  # differentiable, on both sides, in this order: translation, intensity, cutout
        "guide": {"weight": 0.0, "classifier": ""},  # of G's cross-entropy by the classifier in a workdir, itself fixed
        "auxiliary_weight": 1.0,  # of the class loss, where the discriminator's conditioning is auxiliary
    }


def generator() -> dict:
    """Noise and label to images."""
    return {
        "name": "cgan",
        "features": 32,  # at full size; twice as many at each halving
        "most_features": 512,
        "embedding": 32,  # length of each column's embedding
        "norm": "batch",  # batch, instance, group, none
        "predict_norm": "running",
        "conditional_norm": False,  # norms scaled by noise and label
        "dropout": 0.0,
    }


def discriminator() -> dict:
    """Real or generated, given the label."""
    return {
        "name": "conditional",
        "features": 64,  # at half the size; twice as many at each halving
        "most_features": 512,
        "hidden": 256,
        "embedding": 16,
        "conditioning": "concatenation",  # as published; or projection, auxiliary
        "contrast": 0.0,  # pixels over which local contrast is measured for a second channel; 0: none
        "norm": "none",
        "dropout": 0.3,
        "spectral": False,
        "minibatch_std": False,
    }


def _small(config: ConfigDict) -> None:
    config.method.update(r1=0.1, augment=("translation", "intensity", "cutout"))
    config.generator.update(most_features=256, conditional_norm=True)
    # An auxiliary classifier in D's place learns no class in 2,000 steps, while all films become one.
    config.discriminator.update(conditioning="projection", features=48, most_features=256, minibatch_std=True)
    config.discriminator.dropout = 0.0
    config.optimizer.update(b1=0.0, b2=0.99)
    config.data.update(image_size=64, load_size=64, crop_size=64, batch_size=16)
    config.data.clahe.clip = 0.0
    config.train.update(steps=8000, ema=0.999, log_every=25, eval_every=500, save_every=500, sample_every=1000, eval_images=300)


def _guided(config: ConfigDict) -> None:
    """The discriminator of the first phase cannot tell the classes apart; a classifier can, and shows G what they are."""
    config.method.guide.weight = 0.2
    config.train.update(steps=600, needs_init=True, eval_every=200, save_every=200, sample_every=200, best="step:max")


def _nih(config: ConfigDict) -> None:
    classes = ("No Finding", "Pneumonia")
    config.data.update(classes=classes, balance="none", min_per_class=10)
    config.data.nih_cxr14.labels = classes


def _tiny(config: ConfigDict) -> None:
    """With everything that could break a resume: batch norm, dropout, spectral norm, augmentation, an average."""
    config.method.update(latent=8, augment=("translation", "intensity", "cutout"))
    config.generator.update(features=4, most_features=8, embedding=4)
    config.discriminator.update(features=4, most_features=8, hidden=8, embedding=4)
    config.discriminator.update(conditioning="projection", spectral=True, minibatch_std=True)
    config.data.update(source="phantom_cxr", image_size=32, load_size=32, crop_size=32, batch_size=4, threads=1)
    config.data.update(split=(0.5, 0.25, 0.25), min_per_class=2, balance="none")
    config.data.clahe.clip = 0.0
    config.data.phantom_cxr.update(count=24, findings=CLASSES)
    config.train.update(steps=4, ema=0.9, log_every=1, eval_every=2, save_every=2, sample_every=4, progress=False)
