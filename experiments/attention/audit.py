"""The paper's input row under the microscope: its degradation applied to images, and every slip that could explain it.

Each hypothesis is a function from images to (what is scored, what it is scored against). All are scored by medjax's
PSNR and SSIM with a range of 1, and averaged over images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from skimage import exposure

from experiments.attention.runs import Study
from experiments.common import kept
from medjax import baselines
from medjax.build import data as build_data
from medjax.data import augment, degrade, sources
from medjax.metrics import psnr, ssim
from medjax.rng import generator
from medjax.types import to_signed

PAPER_PSNR, PAPER_SSIM = 14.23, 0.4512
NATIVE = 1024
Pair = tuple[np.ndarray, np.ndarray]


def _random(i: int) -> np.random.Generator:
    return generator(0, "audit", i)


def _steps(*steps: str) -> Callable[[np.ndarray, int], Pair]:
    return lambda target, i: (degrade.degrade(target, _random(i), steps=steps), target)


def _then(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, int], Pair]:
    """The stated chain, then `change`."""
    return lambda target, i: (change(degrade.degrade(target, _random(i))), target)


def _wrapped(target: np.ndarray, i: int) -> Pair:
    """Noise added to 8-bit values that wrap around instead of clipping; then the rest of the chain."""
    noisy = np.rint(target * 255 + 15 * _random(i).standard_normal(target.shape)).astype(np.int64) % 256
    return degrade.degrade((noisy / 255).astype(np.float32), _random(i), steps=("binomial_blur", "jpeg")), target


def _crops(target: np.ndarray, i: int) -> Pair:
    """Source and target cropped at random places of their own, as a careless augmentation would."""
    side = target.shape[0]
    large = augment.resize(target, round(side * 286 / 256))
    a, b = (augment.random_crop({"x": large}, generator(0, name, i), size=side)["x"] for name in ("first", "second"))
    return degrade.degrade(a, _random(i)), b


def _signed(target: np.ndarray, i: int) -> Pair:
    """Images in [-1, 1] scored as if their range were 1."""
    return to_signed(degrade.degrade(target, _random(i))), to_signed(target)


STATED = "as stated: noise, blur, JPEG"
# What an order, a range, a clipping or a geometry slip in the stated chain would give.
SLIPS: dict[str, Callable[[np.ndarray, int], Pair]] = {
    STATED: _steps(*degrade.PAPER_STEPS),
    "noise alone": _steps("gaussian_noise"),
    "blur alone": _steps("binomial_blur"),
    "JPEG alone": _steps("jpeg"),
    "blur, noise, JPEG": _steps("binomial_blur", "gaussian_noise", "jpeg"),
    "8-bit values that wrap around": _wrapped,
    "images in [-1, 1], range taken as 1": _signed,
    "input mirrored": _then(lambda x: x[:, ::-1]),
    "independent crops of input and target": _crops,
}
# What is no part of the stated chain.
OTHERS: dict[str, Callable[[np.ndarray, int], Pair]] = {
    "input histogram-equalised": _then(lambda x: exposure.equalize_hist(x[..., 0]).astype(np.float32)[..., None]),
    "contrast cut to 0.5": _then(lambda x: degrade.contrast(x, _random(0), gain=0.5)),
    "contrast cut to 0.25": _then(lambda x: degrade.contrast(x, _random(0), gain=0.25)),
}
WRONG_PAIR = "another patient's image as target"
DENSE = "noise of the sigma that 14.23 dB needs, unclipped"
AT_NATIVE = f"degraded at {NATIVE}, then shrunk"
NLM_STATED, NLM_NATIVE = "non-local means, degraded at the size scored", f"non-local means, degraded at {NATIVE}"


def measure(study: Study, data: build_data.Data) -> dict[str, Any]:
    """`{"rows": {hypothesis: {"psnr", "ssim", "n"}}, "size", "sigma", "reason"}`, once, then from `audit.json`."""
    return kept(study.workdir / "audit.json", lambda: _measure(study, data))


def _measure(study: Study, data: build_data.Data) -> dict[str, Any]:
    side, count = study.scale.audit_size, min(study.scale.audit, len(data.source))
    chosen = sorted(generator(0, "audit").permutation(len(data.source))[:count].tolist())
    targets = [augment.resize(data.source.load(i)["target"], side) for i in chosen]
    rows = {name: score([f(t, i) for i, t in enumerate(targets)]) for name, f in {**SLIPS, **OTHERS}.items()}
    stated = [SLIPS[STATED](t, i) for i, t in enumerate(targets)]
    rows[WRONG_PAIR] = score([(source, targets[i - 1]) for i, (source, _) in enumerate(stated)])
    sigma = sigma_for(PAPER_PSNR)
    noisy = [
        t + np.float32(sigma / 255) * _random(i).standard_normal(t.shape, np.float32) for i, t in enumerate(targets)
    ]
    rows[DENSE] = score(list(zip(noisy, targets, strict=True)))
    rows[NLM_STATED] = score(denoised(stated))
    large, reason = _native(study, data)
    if large:
        pairs = [_degraded_large(image, i, side) for i, image in enumerate(large)]
        rows[AT_NATIVE], rows[NLM_NATIVE] = score(pairs), score(denoised(pairs))
    return {"rows": rows, "size": side, "sigma": sigma, "reason": reason}


def sigma_for(decibels: float) -> float:
    """The standard deviation, of 255, of unclipped white noise of this PSNR."""
    return 255 * 10 ** (-decibels / 20)


def score(pairs: list[Pair]) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM with a range of 1, and n."""
    each = [[float(m(a[None], b[None])[0]) for m in (psnr, ssim)] for a, b in pairs]
    quality = np.mean(each, axis=0)
    return {
        "psnr": float(quality[0]),
        "psnr_std": float(np.std(each, axis=0)[0]),
        "ssim": float(quality[1]),
        "n": len(pairs),
    }


def denoised(pairs: list[Pair]) -> list[Pair]:
    """The pairs with non-local means on the source, tuned on the first few."""
    first = pairs[:4]
    grid = {"h": (0.006, 0.009, 0.012, 0.017, 0.024, 0.035)}
    params = baselines.tune("nlm", [a for a, _ in first], [b for _, b in first], grid=grid)
    return [(baselines.nlm(a, **params), b) for a, b in pairs]


def _native(study: Study, data: build_data.Data) -> tuple[list[np.ndarray], str]:
    """Images at their original 1024 pixels, or the reason why there are none."""
    if not study.real:
        return [], "the images are simulated"
    root, source = Path(data.root), data.source
    if (root / f"images_{NATIVE}").is_dir():
        source = sources.nih_cxr14(root, images=f"images_{NATIVE}", missing="skip")
    images = []
    for i in range(min(study.scale.audit, len(source))):
        image = source.load(i)["target"]
        if min(image.shape[:2]) < NATIVE:
            return [], f"the images in {root.name} are smaller than {NATIVE} pixels"
        images.append(image)
    return images, ""


def _degraded_large(image: np.ndarray, i: int, side: int) -> Pair:
    shrink = lambda x: augment.resize(x, side)  # noqa: E731
    return shrink(degrade.degrade(image, _random(i))), shrink(image)


def near(row: dict[str, float]) -> bool:
    """Whether a hypothesis gives the paper's input row: within 1 dB and 0.05 of SSIM."""
    return abs(row["psnr"] - PAPER_PSNR) <= 1 and abs(row["ssim"] - PAPER_SSIM) <= 0.05


def distance(row: dict[str, float]) -> float:
    """How far a hypothesis is from the paper's input row, in units of those tolerances; nan-safe."""
    away = max(abs(row["psnr"] - PAPER_PSNR), abs(row["ssim"] - PAPER_SSIM) / 0.05)
    return away if math.isfinite(away) else math.inf
