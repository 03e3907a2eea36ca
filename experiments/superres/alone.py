"""One image without a set: a generator trained on nothing but the image that it then enlarges.

The image, as 8-bit pixels, is its own training set (`data.self_supervised`): it is reduced once more, the network learns the way
back, and then takes the same step from the image itself (Shocher et al. 2018). Its reference is used for the score alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import common
from experiments.superres.curves import few
from experiments.superres.runs import RUNS, Opened, Study, config_of
from experiments.superres.scores import images
from medjax import baselines, formats
from medjax.build import config as configs
from medjax.build import evaluation as build_evaluation
from medjax.metrics import psnr, ssim
from medjax.types import to_signed, to_unit

RUN = "cxr_x2"  # by its config, and beside it
ROWS = ("bicubic", "lanczos", "others", "itself")


def measure(study: Study, opened: Opened, *, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """`[{"name", "index", "rows": {row: {"psnr", "ssim"}}}]` of a few test images, each trained on by itself."""
    if RUN not in opened.runs:
        return []
    data = opened.of(RUN)
    wanted = [int(i) for i in few(data, "test", study.scale.alone).splits["test"]]
    pairs, found = images(study, data, RUN, wanted), []
    others = predictor(study.folder(RUN))
    for index in wanted:
        name, (small, reference) = data.source.records[index].name, pairs[index]
        folder = study.workdir.resolve() / "alone" / str(index)
        stored = np.rint(small * 255).astype(np.float32) / 255
        store(folder / "image" / "image.png", stored)
        config = _config(study, folder, size=len(small))
        common.train_to_end(f"alone {name}", config, folder / "run", 1, say=say)
        made = {row: baselines.enlarge(stored, factor=RUNS[RUN].factor, resampler=row) for row in ("bicubic", "lanczos")}
        made |= {"others": others(stored), "itself": predictor(folder / "run")(stored)}
        np.savez_compressed(folder / "outputs.npz", reference=reference, **made)
        rows = {row: {m.__name__: float(m(x[None], reference[None])[0]) for m in (psnr, ssim)} for row, x in made.items()}
        found.append({"name": name, "index": index, "rows": rows})
    return found


def store(path: Path, image: np.ndarray) -> None:
    """An 8-bit PNG file of `[H, W, 1]` in [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    formats.write(path, image, formats.encoding("png", "uint8"))


def _config(study: Study, folder: Path, *, size: int) -> ConfigDict:
    """The run's own generator and optimiser, on one image of `size` pixels."""
    config, steps = config_of(study, RUN), study.scale.alone_steps
    config.data.update(source="folder", root=str(folder / "image"), self_supervised=True, image_size=size, load_size=size,
                       crop_size=min(config.data.crop_size, size), limit=0)  # fmt: skip
    config.data.folder.update(configs.get("esrgan:small").data.folder)
    config.train.update(steps=steps, epochs=0, eval_every=steps, save_every=steps, sample_every=0, eval_images=1,
                        log_every=max(steps // 100, 1))  # fmt: skip
    config.train.ema = max(0.0, min(config.train.ema, 1 - 10 / steps))  # an average over a tenth of so short a run
    return config


def predictor(run: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A run as a function of one image `[h, w, 1]` in [0, 1] to its enlargement, clipped."""
    predict, key = build_evaluation.load(run, which="latest").predict(), jax.random.key(0)

    def enlarge(image: np.ndarray) -> np.ndarray:
        batch = {"source": to_signed(image[None]), "index": np.zeros(1, np.int32)}
        return np.clip(to_unit(np.asarray(predict(batch, key)["target"]))[0], 0, 1)

    return enlarge
