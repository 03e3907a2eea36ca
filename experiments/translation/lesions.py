"""Lesions of simulated heads, kept or lost in the synthetic T2.

A lesion is kept if its contrast to the white matter around it, in the synthetic T2, is at least half of its contrast in the
true one. Contrast is the mean inside the lesion less the median of its surroundings within `REACH` pixels or slices: of
those voxels of the brain, in no lesion, that are darker in the true T2 than half of the brain, as white matter is. `visible`
lesions differ from white matter in T1 too; `veiled` ones have its T1, so no method that sees T1 alone can know of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.translation.runs import Study
from experiments.translation.scores import Results, images_of, stacks
from medjax import baselines
from medjax.build import data as build_data
from medjax.data.phantom.lesions import contrast_kept
from medjax.data.phantom.mri_source import lesion_numbers, lesions_of

KEPT, REACH = 0.5, 3
KINDS = ("visible", "veiled")


def count(study: Study, data: build_data.Data, results: Results) -> dict[str, Any]:
    """{"rows": {row: {"visible" | "veiled": [share of the true contrast of each lesion]}}, "heads", "shown"}.

    Rows are the input, the maps of intensity and the run that was trained on simulated heads; shown: {head: the slice that
    cuts the largest lesion}.
    """
    run, records = study.on_phantoms, data.source.records
    images, maps = images_of(study, run, data), baselines.bind(results.params[run])
    rows: dict[str, dict[str, list[float]]] = {}
    heads = stacks(data, data.splits["test"])
    shown = {}
    for head, indices in heads.items():
        source, target, region = (np.stack(part)[..., 0] for part in zip(*(images[i] for i in indices), strict=True))
        numbers = np.stack([lesion_numbers(records[i]) for i in indices])
        visible = {lesion.number: lesion.visible for lesion in lesions_of(records[indices[0]])}
        stacked = {"input": source, **{name: np.stack([f(x) for x in source]) for name, f in maps.items()}}
        stacked[run] = np.stack([results.outputs[run][i] for i in indices])[..., 0]
        for row, stack in stacked.items():
            into = rows.setdefault(row, {kind: [] for kind in KINDS})
            for number, share in contrast(stack, target, region, numbers).items():
                into[KINDS[not visible[number]]].append(share)
        largest = (numbers > 0).sum((1, 2))
        if largest.any():
            shown[head] = indices[int(np.argmax(largest))]
    return {"rows": rows, "heads": len(heads), "shown": shown}


def contrast(image: np.ndarray, target: np.ndarray, region: np.ndarray, numbers: np.ndarray) -> dict[int, float]:
    """{lesion's number: share of its true contrast} in a stack [N, H, W]; see the module's words."""
    inside = region > 0.5
    if not inside.any():
        return {}
    white = inside & (target < np.median(target[inside]))
    return contrast_kept(image, target, numbers, white=white, reach=REACH)


def kept_of(shares: list[float]) -> int:
    """How many of the lesions are kept."""
    return int(np.sum(np.asarray(shares) >= KEPT))
