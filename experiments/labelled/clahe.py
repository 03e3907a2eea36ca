"""What CLAHE does to a PSNR: the same x4 bicubic of X-rays as they are, and of the same images equalised first."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.labelled.runs import Study
from experiments.superres.targets import CLIPS, PLAIN, bicubic, few_images, scored
from medjax import baselines
from medjax.build.data import Data

FACTOR = 4
AUDIT = (33.9, 27.5)  # dB without and with CLAHE, of an earlier look at the paper, other NIH images at 256


def measure(study: Study, data: Data) -> dict[str, Any]:
    """`{"size", "rows": {name: row of superres.targets.scored}}`; no network is trained for any of this."""
    side = study.scale.audit_size
    images = few_images(data, side, study.scale.audited)
    rows = {PLAIN: scored(bicubic(images, FACTOR), images)}
    for clip in CLIPS:
        made = [equalised(image, clip) for image in images]
        rows[f"CLAHE, clip {clip:g}"] = scored(bicubic(made, FACTOR), made)
    return {"size": side, "rows": rows}


def equalised(image: np.ndarray, clip: float) -> np.ndarray:
    """An image [H, W, 1] under CLAHE as `config.data.clahe` applies it, 8 x 8 regions."""
    return baselines.clahe(image, clip_limit=clip, tiles=8).astype(np.float32).reshape(image.shape)


def lowest(found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The clip that costs most, and its row."""
    rows = {name: row for name, row in found["rows"].items() if name != PLAIN}
    name = min(rows, key=lambda n: rows[n]["psnr"])
    return name, rows[name]
