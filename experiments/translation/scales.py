"""The sizes of the study at each scale."""

from __future__ import annotations

from typing import NamedTuple


class Scale(NamedTuple):
    """The sizes of a study.

    networks: config and overrides; steps: of each run, the published one's divisible by 10; subjects: a regular expression
    of who is trained on in the real data, the others being another population; split: train, validation, test, subjects or
    shares; heads: simulated ones, split as head_split; thin: every how manieth training slice is scored; draws: of dropout;
    checks: validations of a run; measured, close: on how many subjects, and on every how manieth of their slices, the cost of
    misalignment is measured.
    """

    networks: dict[str, tuple[str, tuple[str, ...]]]
    steps: dict[str, int]
    subjects: str
    split: tuple
    heads: int
    head_split: tuple
    digits: int
    thin: int
    draws: int
    checks: int
    measured: int
    close: int
    registration: str = "refuse"


_TINY = ("data.image_size=32", "data.load_size=32", "data.crop_size=32", "data.batch_size=2", "data.threads=0")
_TINY_HEADS = ("data.phantom_mri.size=32", "data.phantom_mri.range_mm=(-20.0,20.0)", "data.phantom_mri.step_mm=0.0")
SCALES: dict[str, Scale] = {
    "tiny": Scale(
        {
            "published": ("pix2pix_mri:tiny", (*_TINY, *_TINY_HEADS)),
            "main": ("pix2pix_mri:small", (*_TINY, *_TINY_HEADS, "generator.features=(8,8)", "generator.blocks=(1,1)",
                                           "discriminator.features=8", "discriminator.layers=2")),
            "digits": ("pix2pix_mri:mnist", (*_TINY, "generator.features=4", "discriminator.features=4")),
        },
        {"published": 10, "l1_only": 2, "main": 2, "digits": 2},
        "", (0.5, 0.25, 0.25), 4, (2, 1, 1), 30, 2, 2, 1, 2, 1,
    ),
    # Seconds a step on 2 CPU cores: published and main 0.1, L1 alone 0.07, phantom 0.1, digits 0.02.
    "small": Scale(
        {
            "published": ("pix2pix_mri:paper", (
                "data.image_size=128", "data.load_size=128", "data.crop_size=128", "data.mri_pairs.range_mm=(-45.0,45.0)",
                "data.mri_pairs.fov_mm=144.0", "generator.features=32", "discriminator.features=32",
            )),
            "main": ("pix2pix_mri:small", ()),
            "digits": ("pix2pix_mri:mnist", ()),
        },
        {"published": 6000, "l1_only": 6000, "main": 6000, "phantom": 5000, "digits": 2000},
        "^JLF", (9, 1, 3), 20, (14, 1, 5), 1000, 3, 8, 5, 20, 3,
    ),
    "paper": Scale(
        {
            "published": ("pix2pix_mri:paper", ()),
            "main": ("pix2pix_mri:small", (
                "data.image_size=256", "data.load_size=256", "data.crop_size=192", "data.mri_pairs.range_mm=(-12.0,12.0)",
                "data.mri_pairs.fov_mm=256.0", "data.phantom_mri.fov_mm=256.0", "generator.features=(64,128,192)",
            )),
            "digits": ("pix2pix_mri:mnist", ()),
        },
        {"published": 49_200, "l1_only": 49_200, "main": 49_200, "phantom": 20_000, "digits": 20_000},
        "", (0.8, 0.1, 0.1), 80, (0.8, 0.1, 0.1), 10_000, 4, 8, 10, 20, 4, "rigid",
    ),
}  # fmt: skip
