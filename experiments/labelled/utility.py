"""Classifiers trained on real images, on synthetic ones and on both, tested on real ones: see `medjax.build.utility`."""

from __future__ import annotations

import json
from typing import Any

from experiments.labelled import threshold
from experiments.labelled.runs import Study, config_of
from medjax.build import utility


def measure(study: Study, images: str) -> dict[str, Any]:
    """What `utility.json` holds, of the labelled images of a set; all three classifiers are trained for the same steps."""
    output = study.place / "utility" / images
    if (output / "utility.json").exists():
        return json.loads((output / "utility.json").read_text())
    config = config_of(study, f"classifier_{images}")
    steps = study.scale.utility[images]
    period = max(steps // 4, 1)
    config.train.update(steps=steps, epochs=0, eval_every=period, save_every=period, sample_every=steps)
    config.data.min_per_class = 1
    kind = threshold.ENLARGED if images == "nih" else threshold.PLAIN
    made = threshold.folder(study, images, kind)
    return utility.utility(study.gan(images), made, output, config=config, progress=study.progress)
