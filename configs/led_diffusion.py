"""Chest X-ray enhancement by conditional diffusion, the second half of LED: Arlide et al., "Chest X-Ray Image Enhancement Using
The LED Framework", after Cheng et al. 2023 and Ho et al. 2020.

    medjax train --config=led_diffusion:small --workdir=runs/diffusion
    medjax train --config=led_diffusion --config.data.root=PAIRS --workdir=runs/led_diffusion
    medjax enhance --workdir=runs/led_diffusion FILES --output=DIR --sampler=dpm2m --steps=20 --samples=8
    medjax enhance --workdir=runs/led_diffusion FILES --output=DIR --start=800 --enhancer=runs/led_cyclegan

Pairs are good images and what a CycleGAN's g_ba makes of them (`data.source=led_pairs`, of medjax degrade), or good images and
their physical degradation (any source of single images with `data.degradation`). The last command is inference as the paper
words it, from y0 = f(x); its start is not stated, 800 of 1000 is that of LED's code. There alpha_bar is 0.0015, -28 dB: of y0
next to nothing is left, and a start that refines is a few hundred.

| variant | what | cost |
|---|---|---|
| paper | T = 1000, epsilon, linear, batch 32 at 256, 150 epochs at a learning rate of 1e-5 | an hour on a GPU for 1,000 pairs |
| sane | the same network, cosine, v, min-SNR, an average, 2e-4 and ten times the epochs | ten hours on a GPU |
| small | 64 pixels of phantoms of low dose, narrow | three quarters of an hour on 2 CPU cores |
| tiny | for tests | seconds |

The number to reach, on phantoms (`small`): above the PSNR of the input, and with DPM-Solver++ at 20 steps within 0.5 dB of DDPM
at 1,000. 150 epochs of 1,000 pairs are 4,650 steps, which at 1e-5 leaves a denoiser that has learnt little (Ho et al. took
500,000 at 2e-5): `paper` is as published, `sane` is what to train.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common

VARIANTS = ("paper", "sane", "small", "tiny")


def get_config(variant: str = "paper") -> ConfigDict:
    """The config of `variant`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
    config = common.run(
        "led_diffusion",
        variant,
        method=method(),
        denoiser=denoiser(),
        optimizer=common.optimizer(learning_rate=1e-5, b1=0.9, schedule="constant"),
        data=common.data(),
        train=common.train(epochs=150, eval_every=100, save_every=500, sample_every=1000, best="loss:min", patience=10),
    )
    config.data.update(source="led_pairs", image_size=256, load_size=256, crop_size=256, batch_size=32)
    config.data.degradation.steps = ()
    if variant != "paper":
        _sane(config)
    if variant == "small":
        _small(config)
    if variant == "tiny":
        _tiny(config)
    return config


def method() -> dict:
    """Diffusion as the paper has it; what it leaves open is that of Ho et al. 2020, or of the LED repository."""
    return {
        "name": "diffusion",
        "schedule": "linear",  # or cosine
        "num_times": 1000,  # T
        "prediction": "epsilon",  # epsilon, v, x0
        "weighting": "uniform",  # or min_snr
        "gamma": 5.0,  # of min_snr
        "enhancer": "",  # the workdir of a run of led_cyclegan, whose g_ab is f: start images are f(source); "": the source
        "trained_on": "source",  # the condition in training: source, or enhanced: f(source)
        "condition": "source",  # and at inference
        "sampler": "ddim",  # ddpm, ddim, dpm2m
        "steps": 50,  # calls of the denoiser for an image
        "start": 0,  # steps of noise, of T, that the start image gets before it is refined; 0: noise alone
        "samples": 1,  # draws whose mean a prediction is
        "eta": 0.0,  # of ddim: from nothing drawn to as much as ddpm draws, 1
        "variance": "small",  # of ddpm: the posterior's, or large: beta
        "spacing": "quadratic",  # of the sampling steps: denser where little noise is left; or uniform
    }


def denoiser() -> dict:
    """The U-Net of Ho et al. 2020 at 256 pixels, half as wide."""
    return {
        "name": "denoiser",
        "features": 64,
        "multipliers": (1, 1, 2, 2, 4, 4),  # widths of the levels; each halves the maps
        "blocks": 2,  # residual blocks at each level
        "attention_levels": (4,),  # 0 is the finest; at 256 pixels level 4 has maps of 16
        "attention_kind": "transformer",
        "unshuffle": 1,  # pixels along a side that go into one position of the finest level
        "dropout": 0.0,
    }


def _sane(config: ConfigDict) -> None:
    config.method.update(schedule="cosine", prediction="v", weighting="min_snr", sampler="dpm2m", steps=20)
    config.optimizer.update(learning_rate=2e-4, warmup=500, clip=1.0)
    config.train.update(epochs=1500, ema=0.9995, eval_every=500)


def _small(config: ConfigDict) -> None:
    """Quantum noise of a low dose, blur and lost contrast on phantoms."""
    config.denoiser.update(features=32, multipliers=(1, 2, 2), blocks=1, attention_levels=(2,), unshuffle=2)
    config.optimizer.update(learning_rate=5e-4, schedule="cosine", warmup=200)
    config.data.update(source="phantom_cxr", image_size=64, load_size=64, crop_size=64, batch_size=16)
    config.data.phantom_cxr.count = 1500
    config.data.degradation.steps = ("contrast", "gaussian_blur", "poisson_noise")
    config.data.degradation.poisson_noise.dose = 100.0
    config.train.update(steps=6000, epochs=0, ema=0.999, log_every=50, eval_every=500, save_every=500, sample_every=1000)
    config.train.update(eval_images=16, patience=0)


def _tiny(config: ConfigDict) -> None:
    """With an average, so that a resume has something to lose."""
    config.method.update(num_times=20, steps=2, sampler="ddim")
    config.denoiser.update(features=4, multipliers=(1,), blocks=1, attention_levels=(), unshuffle=2)
    config.data.update(source="phantom_cxr", image_size=32, load_size=32, crop_size=32, batch_size=4, threads=1)
    config.data.phantom_cxr.count = 24
    config.data.degradation.steps = ("gaussian_noise",)
    config.optimizer.warmup = 0
    config.train.update(steps=4, epochs=0, ema=0.9, log_every=1, eval_every=2, save_every=2, sample_every=4, progress=False)
    config.train.update(patience=0)
