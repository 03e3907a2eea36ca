"""The sizes of the study at each scale."""

from __future__ import annotations

from typing import Any, NamedTuple

Variant = tuple[str, tuple[str, ...]]  # config and overrides
PHANTOM, REAL = "phantom", "real"


class Scale(NamedTuple):
    """The sizes of a study.

    arms: by kind of images the config of every run on them; all but the first stage and the classifier take pool, pairs and
    sizes from the CycleGAN. test: images of each pool that are enhanced at most; samples: draws of the diffusion model behind
    its mean. start: share of the T steps of noise that the enhanced image gets before it is refined (LED's own: 800 of 1,000).
    ablated: images of the ablation; many: of those the ones drawn by DDPM in all steps. settings: of the ablation, by what a
    table calls them, fields of `config.method`; a start is a share of T. tuned: validation images for the classical rows.
    """

    arms: dict[str, dict[str, Variant]]
    test: int
    samples: int
    start: float
    ablated: int
    many: int
    settings: dict[str, dict[str, Any]]
    tuned: int


_FINDINGS = ("data.phantom_pools.findings=('No Finding','Mass')", "data.split=(0.7,0.1,0.2)")
_MASS = ("data.classes=('No Finding','Mass')", "data.phantom_cxr.findings=('No Finding','Mass')")
_HALVES = "data.split=(0.5,0.25,0.25)"
# A thousand images of each pool to train on, as published, and as many to test on: the patients are dealt in these shares.
_HELD_OUT = ("data.padchest.low_limit=2200", "data.padchest.high_limit=2200", "data.split=(0.4545,0.091,0.4545)")
# Steps and batches of the tiny runs are those of the configs' own tests, so that a suite compiles them once.
_SHORT = ("train.steps=2", "train.eval_every=2", "train.save_every=2", "train.sample_every=0", "train.log_every=1",
          "train.eval_images=2", "data.threads=0", "data.verify=False")  # fmt: skip
_NIH64 = ("data.image_size=64", "data.load_size=64", "data.crop_size=64", "data.split=(0.7,0.1,0.2)")

CONDITION, FRESH = "condition: f(x)", "start: noise"
_STARTS = {f"start: {share:g} T": {"start": share} for share in (0.8, 0.5, 0.2)}
_SETTINGS: dict[str, dict[str, Any]] = {
    CONDITION: {"condition": "enhanced"},
    FRESH: {"start": 0.0},
    **_STARTS,
    "DDIM, 20 steps": {"sampler": "ddim", "steps": 20},
    "DDIM, 50 steps": {"sampler": "ddim", "steps": 50},
    "DPM-Solver++, 10 steps": {"sampler": "dpm2m", "steps": 10},
    "DPM-Solver++, 50 steps": {"sampler": "dpm2m", "steps": 50},
    "DDPM, all steps": {"sampler": "ddpm", "steps": 0},
    "start: noise; DDPM, all steps": {"start": 0.0, "sampler": "ddpm", "steps": 0},
}

_PHANTOM: dict[str, Variant] = {
    "cyclegan": ("led_cyclegan:small", _FINDINGS),
    "diffusion": ("led_diffusion:small", ("data.batch_size=8", "train.steps=2200")),
    "regression": ("restorer_cxr:small", ("data.batch_size=8", "train.steps=1500", "train.eval_every=500",
                                          "train.save_every=500")),
    "physical": ("led_diffusion:small", ("data.batch_size=8", "train.steps=2200")),
    "classifier": ("classifier_cxr:copd_small", _MASS),
}  # fmt: skip

SCALES: dict[str, Scale] = {
    "tiny": Scale(
        arms={
            PHANTOM: {
                "cyclegan": ("led_cyclegan:tiny", ("data.phantom_pools.count=48", _FINDINGS[0], _HALVES, *_SHORT)),
                "diffusion": ("led_diffusion:tiny", _SHORT),
                "regression": ("restorer_cxr:tiny", (*_SHORT, "train.steps=4", "train.eval_every=4", "train.save_every=4")),
                "physical": ("led_diffusion:tiny", _SHORT),
                "classifier": ("classifier_cxr:copd_tiny", (*_MASS, *_SHORT, "train.eval_images=0")),
            },
            REAL: {
                "cyclegan": ("led_cyclegan:tiny", ("data.source=unpaired", "data.unpaired.low=nih_cxr14",
                                                   "data.unpaired.high=nih_cxr14", "data.degradation.steps=('low_dose',)",
                                                   "data.limit=24", *_SHORT)),
                "diffusion": ("led_diffusion:tiny", _SHORT),
            },
        },
        test=10, samples=2, start=0.8, ablated=2, many=2, settings={CONDITION: {"condition": "enhanced"}, FRESH: {"start": 0.0}},
        tuned=1,
    ),
    # Seconds of processor time a step: CycleGAN 0.8, diffusion 0.5, regression 0.3, classifier 0.4.
    "small": Scale(
        arms={
            PHANTOM: _PHANTOM,
            REAL: {
                "cyclegan": ("led_cyclegan:small_nih", (*_NIH64, "train.steps=1200", "train.eval_every=300",
                                                        "train.save_every=300", "train.sample_every=600")),
                "diffusion": ("led_diffusion:small", ("train.steps=1000",)),
            },
        },
        test=160, samples=8, start=0.8, ablated=24, many=16, settings=_SETTINGS, tuned=12,
    ),
    "paper": Scale(
        arms={
            PHANTOM: _PHANTOM,
            REAL: {
                "cyclegan": ("led_cyclegan:paper", _HELD_OUT),
                "diffusion": ("led_diffusion:paper", ()),
                "sane": ("led_diffusion:sane", ()),
                "regression": ("restorer_cxr:paper", ()),
                "physical": ("led_diffusion:sane", ()),
                # Of so many images of each label 5,000 are training ones, as published.
                "classifier": ("classifier_cxr:copd", ("data.padchest.class_limit=11000",)),
            },
        },
        test=1000, samples=8, start=0.8, ablated=64, many=16, settings=_SETTINGS, tuned=12,
    ),
}  # fmt: skip
