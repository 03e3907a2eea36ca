"""The sizes of the study at each scale."""

from __future__ import annotations

from typing import Any, NamedTuple

Variant = tuple[str, tuple[str, ...]]  # config and overrides


class Scale(NamedTuple):
    """The sizes of a study.

    first: by modality, the config of its L1 phase at x4; the second phase is the same with `_gan`. double: overrides of the L1
    phase at x2. light: the generator for real time at x2. steps: of each run, 0 for the epochs of its config. checks:
    validations of a run; watched: images of each split in the curves. alphas: shares of the GAN in the interpolations.
    trained: training images scored at the end. audited: images on which targets and resamplers are measured, at audit_size.
    alone: images trained on by themselves, each for alone_steps. full: the published generator, for its speed at frame pixels;
    rounds: how often it is timed. cxr, volumes: simulated X-rays and volumes; grids: what the volumes are drawn on; apart: mm
    from slice to slice of them, 0 for all.
    """

    first: dict[str, Variant]
    double: tuple[str, ...]
    light: Variant
    steps: dict[str, int]
    checks: int
    watched: int
    alphas: tuple[float, ...]
    trained: int
    audited: int
    audit_size: int
    alone: int
    alone_steps: int
    full: Variant
    frame: int
    rounds: int
    cxr: int
    volumes: int
    grids: dict[str, dict[str, Any]]
    apart: dict[str, float]


_TINY = ("data.image_size=64", "data.load_size=64", "data.crop_size=32", "data.threads=0", "data.verify=False",
         "data.split=(0.5,0.25,0.25)")  # fmt: skip
_ONE = ("generator.blocks=1", "generator.features=8", "generator.growth=4")
_PAPER = ("data.image_size=256", "data.load_size=256")
SCALES: dict[str, Scale] = {
    "tiny": Scale(
        first=dict.fromkeys(("cxr", "ct", "mri"), ("esrgan:tiny", _TINY)),
        double=("data.scale=2",),
        light=("esrgan:light", (*_TINY, *_ONE, "data.scale=2", "data.batch_size=2", "optimizer.warmup=0")),
        steps={"cxr": 2, "cxr_gan": 2, "cxr_x2": 2, "light": 2, "ct": 2, "mri": 2},
        checks=2, watched=2, alphas=(0.8,), trained=2, audited=4, audit_size=64, alone=1, alone_steps=2,
        full=("esrgan:paper", ("data.scale=2", *_ONE)), frame=32, rounds=1, cxr=12, volumes=4,
        grids={"ct": {"shape": (96, 80, 8), "spacing": (4.5, 4.5, 20.0)},
               "mri": {"shape": (64, 64, 8), "spacing": (3.2, 3.2, 8.0)}},
        apart={"ct": 80.0, "mri": 32.0},
    ),
    # Seconds a step on 2 CPU cores: L1 0.09 (at x2 0.08), light 0.26, GAN 0.23.
    "small": Scale(
        first={"cxr": ("esrgan:small", ()), "ct": ("esrgan:small_ct", ("data.split=(0.45,0.15,0.4)",)),
               "mri": ("esrgan:small_mri", ("data.split=(0.6,0.13,0.27)",))},
        double=("data.scale=2", "data.crop_size=64"),
        light=("esrgan:light", ("data.scale=2",)),
        steps={"cxr": 6000, "cxr_gan": 1000, "cxr_x2": 1000, "light": 600, "ct": 3000, "ct_gan": 300, "mri": 3000,
               "mri_gan": 300},
        checks=5, watched=6, alphas=(0.2, 0.4, 0.6, 0.8), trained=12, audited=60, audit_size=256, alone=3, alone_steps=360,
        full=("esrgan:paper", ("data.scale=2",)), frame=256, rounds=6, cxr=240, volumes=8,
        grids={"ct": {"shape": (256, 208, 12), "spacing": (1.6, 1.6, 20.0)},
               "mri": {"shape": (192, 192, 16), "spacing": (1.0, 1.0, 6.0)}},
        apart={"ct": 0.0, "mri": 0.0},
    ),
    "paper": Scale(
        first=dict.fromkeys(("cxr", "ct", "mri"), ("esrgan:paper", ())),
        double=("data.scale=2",),
        light=("esrgan:light", (*_PAPER, "data.scale=2", "train.steps=0", "train.epochs=100")),
        steps=dict.fromkeys(("cxr", "cxr_gan", "cxr_x2", "light", "ct", "ct_gan", "mri", "mri_gan"), 0),
        checks=20, watched=64, alphas=(0.2, 0.4, 0.6, 0.8), trained=200, audited=200, audit_size=256, alone=8, alone_steps=2000,
        full=("esrgan:paper", ("data.scale=2",)), frame=256, rounds=20, cxr=4000, volumes=80,
        grids={"ct": {}, "mri": {"shape": (192, 192, 64), "spacing": (1.0, 1.0, 2.0)}}, apart={"ct": 0.0, "mri": 0.0},
    ),
}  # fmt: skip
