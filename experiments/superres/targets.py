"""What bicubic scores alone: by what was done to the target, by the resampler, by the enlargement, and by modality.

No network is trained for any of this. A figure of super-resolution means something only beside these: filtering the target or
equalising it moves the PSNR of one and the same interpolation by more than any network does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from PIL import Image
from skimage import transform

from experiments.superres.runs import RUNS, Opened, Study, config_of
from medjax import baselines
from medjax.build.data import Data
from medjax.data.augment import resize
from medjax.data.choice import spread
from medjax.data.degrade import downsample, prefiltered
from medjax.metrics import psnr, ssim

PAPER = ((26.84, 0.8503), (27.07, 0.8116), (24.86, 0.7855), (27.25, 0.8367), (28.61, 0.8760))
FACTORS = (2, 4, 8)
CLIPS = (0.005, 0.01, 0.02, 0.03)
PLAIN = "as they are"
FILTERS: dict[str, tuple[str, ...]] = {
    PLAIN: (), "median 3x3": ("median",), "Gaussian, sigma 1": ("gaussian",), "median, then Gaussian": ("median", "gaussian"),
}  # fmt: skip
INPUTS = "inputs filtered (median, then Gaussian), targets as they are"
EQUALISED = "CLAHE, clip {}"
PILLOW, SKIMAGE = "Pillow", "scikit-image"
BYTES = "8 bits between"

Images = list[np.ndarray]
Enlarge = Callable[[np.ndarray, int], np.ndarray]


def measure(study: Study, opened: Opened) -> dict[str, Any]:
    """`{"targets", "resamplers": {name: row}, "placing": {modality: {factor: row}}, "sizes": {modality: pixels}}`; a row is of
    `scored`. Images are brought to the audit's size; those that are scored at a smaller one to that, as enlarging them first
    would leave nothing to lose.
    """
    sizes = {RUNS[run].modality: min(study.scale.audit_size, config_of(study, run).data.image_size) for run in opened.runs}
    of = {RUNS[run].modality: opened.of(run) for run in opened.runs}
    sets = {name: few_images(of[name], side, study.scale.audited) for name, side in sizes.items()}
    placing = {name: {f: scored(bicubic(images, f), images) for f in FACTORS} for name, images in sets.items()}
    return {"sizes": sizes, "targets": targets(sets["cxr"]), "resamplers": resamplers(sets["cxr"]), "placing": placing}


def few_images(data: Data, side: int, count: int) -> Images:
    """At most `count` images [side, side, 1] in [0, 1], spread over all records: nothing is trained, so no split is spared."""
    return [resize(data.source.load(i)["target"], side) for i in spread(len(data.source), count)]


def bicubic(images: Iterable[np.ndarray], factor: int) -> Images:
    """Reduced by `factor` and enlarged again, both by Pillow's bicubic in float32."""
    return [baselines.enlarge(downsample(image, None, factor=factor), factor=factor) for image in images]


def scored(outputs: Images, references: Images) -> dict[str, Any]:
    """`{"psnr", "psnr_std", "psnr_min", "psnr_max", "ssim", "n"}` over images."""
    pairs = [(np.asarray(a, np.float32)[None], np.asarray(b, np.float32)[None]) for a, b in zip(outputs, references, strict=True)]
    db = np.array([float(psnr(*pair)[0]) for pair in pairs])
    return {
        "psnr": float(db.mean()), "psnr_std": float(db.std(ddof=1)) if len(db) > 1 else 0.0, "psnr_min": float(db.min()),
        "psnr_max": float(db.max()), "ssim": float(np.mean([float(ssim(*pair)[0]) for pair in pairs])), "n": len(db),
    }  # fmt: skip


def filtered(image: np.ndarray, steps: Iterable[str]) -> np.ndarray:
    """An image after the filters of `data.degrade.prefiltered`, in turn."""
    for step in steps:
        image = prefiltered(image, step)
    return image


def targets(images: Images) -> dict[str, dict[str, Any]]:
    """x4 bicubic of X-rays whose targets, and so inputs, were filtered or equalised first; then of inputs alone."""
    found = {}
    for name, steps in FILTERS.items():
        made = [filtered(image, steps) for image in images]
        found[name] = scored(bicubic(made, 4), made)
    for clip in CLIPS:
        made = [baselines.clahe(image, clip_limit=clip).astype(np.float32).reshape(image.shape) for image in images]
        found[EQUALISED.format(clip)] = scored(bicubic(made, 4), made)
    small = [filtered(downsample(image, None, factor=4), ("median", "gaussian")) for image in images]
    found[INPUTS] = scored([baselines.enlarge(image, factor=4) for image in small], images)
    return found


def by_pillow(image: np.ndarray, size: int) -> np.ndarray:
    """To `size` pixels by Pillow's bicubic in float32: a kernel with a = -0.5, widened where it shrinks."""
    plane = Image.fromarray(np.ascontiguousarray(image[..., 0], np.float32))
    return np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC))[..., None].clip(0, 1)


def by_skimage(image: np.ndarray, size: int, *, smooth: bool = True) -> np.ndarray:
    """To `size` pixels by scikit-image's order 3: cubic B-splines, after a Gaussian where it shrinks and `smooth`."""
    shrinks = size < len(image)
    made = transform.resize(image[..., 0], (size, size), order=3, mode="reflect", anti_aliasing=shrinks and smooth)
    return made.astype(np.float32)[..., None].clip(0, 1)


RESAMPLERS: Mapping[str, Callable[..., np.ndarray]] = {PILLOW: by_pillow, SKIMAGE: by_skimage}


def resamplers(images: Images) -> dict[str, dict[str, Any]]:
    """x4 bicubic by both libraries, one for the reduction and one for the enlargement; no antialiasing; 8 bits between."""
    found, side = {}, len(images[0])
    for down, reduce in RESAMPLERS.items():
        small = [reduce(image, side // 4) for image in images]
        for up, enlarge in RESAMPLERS.items():
            found[f"{down} down, {up} up"] = scored([enlarge(image, side) for image in small], images)
    small = [by_skimage(image, side // 4, smooth=False) for image in images]
    found[f"{SKIMAGE} down without antialiasing, {SKIMAGE} up"] = scored([by_skimage(image, side) for image in small], images)
    small = [np.rint(by_pillow(image, side // 4) * 255) / 255 for image in images]
    outputs = [np.rint(by_pillow(image, side) * 255) / 255 for image in small]
    found[f"{PILLOW} down, {PILLOW} up, {BYTES}"] = scored(outputs, images)
    return found


def spread_of(rows: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """The lowest and the highest mean PSNR of antialiased bicubic by the four pairs of libraries."""
    means = [row["psnr"] for name, row in rows.items() if BYTES not in name and "without" not in name]
    return min(means), max(means)


def paper_mean() -> tuple[float, float, float]:
    """Mean and standard deviation of the paper's five PSNRs, and their mean SSIM."""
    values = np.array(PAPER)
    return float(values[:, 0].mean()), float(values[:, 0].std(ddof=1)), float(values[:, 1].mean())
