"""Chest X-ray restoration by a small residual network and an L1 loss: the honest baseline for `pix2pix_cxr`.

    medjax train --config=restorer_cxr:small --config.data.root=DIR --workdir=runs/restorer

| variant | what | cost |
|---|---|---|
| paper | the restorer, wider, on the data and schedule of `pix2pix_cxr:paper` | an hour on a GPU |
| native | 3.9M parameters, crops of 128 at the pixels of the files | 35 PFLOP, 1.9 million crops: an hour on a GPU |
| small | 1.0M parameters, patches of 64 | under 30 minutes on 2 CPU cores |
| tiny | for tests | seconds |

The number to reach, on NIH images degraded at 256: at least 1.5 dB above non-local means (about 34 dB / 0.90).
Files of `native` have sides of `data.image_size`, 512; NIH images as distributed 1024. `python -m experiments.train_models`
trains, scores and exports it.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common

VARIANTS = ("paper", "native", "small", "tiny")


def get_config(variant: str = "paper") -> ConfigDict:
    """The config of `variant`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
    config = common.run(
        "restorer_cxr",
        variant,
        method={"name": "supervised", "reconstruction": "l1"},
        generator=common.restorer(),
        optimizer=common.optimizer(learning_rate=1e-3, b1=0.9, schedule="cosine", clip=1.0, warmup=100),
        data=common.data(),
        train=common.train(epochs=200, ema=0.999, eval_every=4000, save_every=4000, sample_every=4000),
    )
    if variant == "paper":
        config.generator.update(features=(64, 128, 192), blocks=(3, 3, 4))
        config.data.update(limit=4999, batch_size=4)
    if variant == "native":
        common.native(config)
    if variant == "small":
        config.data.update(load_size=256, crop_size=64, crop_align=8, batch_size=4)
        config.train.update(steps=16000, eval_every=2000, save_every=2000, sample_every=4000)
    if variant == "tiny":
        config.generator.update(features=(8, 8), blocks=(1, 1))
        config.data.update(source="phantom_cxr", image_size=32, load_size=36, crop_size=32)
        config.data.update(batch_size=2, threads=1)
        config.data.phantom_cxr.count = 24
        config.train.update(steps=4, log_every=1, eval_every=2, save_every=2, sample_every=4, progress=False)
    return config
