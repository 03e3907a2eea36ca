"""A whole volume through the main run: a NIfTI file in, a synthetic T2 on the same grid out, and its three planes.

The file is a test subject's T1 (the median one by score), or on simulated data a head of another series than any run saw.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.translation.runs import Study, config_of
from experiments.translation.scores import Results
from medjax.build import data as build_data
from medjax.build import evaluation as build_evaluation
from medjax.build import volumes as build_volumes
from medjax.data import slices, survey
from medjax.data.intensities import to_unit_range
from medjax.data.phantom.files import write_phantoms
from medjax.formats.volume import read_volume, to_ras, write_volume

FOLDER = "synthetic"
POSITIONS = {"axial": 5.0, "coronal": 0.0, "sagittal": 8.0}  # mm from the middle of the head
UNSEEN = 1  # the series of simulated heads that no run draws from
PHANTOM = {"shape": (72, 84, 72), "spacing": 2.4, "stripped": True}


def translate(study: Study, data: build_data.Data, results: Results) -> dict[str, Any]:
    """Write the synthetic volume; {"t1", "t2", "output", "seconds", "slices", "shape", "same_grid"}."""
    folder = study.workdir / FOLDER
    t1, t2 = _pair(study, data, results)
    model = build_evaluation.load(study.folder("main"), which="latest")
    volume, begun = read_volume(t1), time.perf_counter()
    result = build_volumes.enhance_volume(model, volume, progress=study.progress)
    seconds = time.perf_counter() - begun
    ending = f"{build_volumes.suffix_of(model.config)}.nii.gz"
    output = folder / (Path(t1).name.removesuffix(".nii.gz").removesuffix(".nii") + ending)
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(output, result)
    back = read_volume(output)
    occupied = int((to_ras(volume).values != 0).any(axis=(0, 1)).sum())
    same = bool(np.array_equal(back.affine, volume.affine) and back.values.shape == volume.values.shape)
    return {
        "t1": str(t1), "t2": str(t2), "output": str(output.relative_to(study.workdir)), "seconds": seconds,
        "slices": occupied, "shape": list(volume.values.shape), "same_grid": same,
    }  # fmt: skip


def _pair(study: Study, data: build_data.Data, results: Results) -> tuple[str, str]:
    if not study.real:
        folder = study.workdir / FOLDER / "head"
        return tuple(map(str, write_phantoms(folder, count=1, seed=UNSEEN, **PHANTOM)[:2]))
    order = np.argsort(results.of("main", "psnr_inside"))
    chosen = results.subjects[int(order[len(order) // 2])]
    return next(record.paths for record in data.source.records if record.patient == chosen)[:2]


def planes(study: Study, made: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """{plane: {"T1", "true T2", "synthetic T2"}}, canvases [S, S] in [0, 1] through the middle of the head."""
    config = config_of(study, "main")
    options = config.data[config.data.source]
    known = survey.survey((made["t1"], made["t2"]), registration=study.scale.registration, cache=survey.OFF)
    pair = survey.read_pair((made["t1"], made["t2"]), known)
    head = pair.source
    ras = to_ras(read_volume(study.workdir / made["output"])).values
    arrays = {"T1": head.unit(), "true T2": pair.target, "synthetic T2": to_unit_range(ras, head.low, head.high)}
    found: dict[str, dict[str, np.ndarray]] = {}
    for plane, position in POSITIONS.items():
        plan = slices.slice_plan(head.volume, plane=plane, fov_mm=options.fov_mm, centre=head.centre)
        k = int(np.argmin(np.abs(plan.positions - position)))
        found[plane] = {name: slices.cut(values, plan, k) for name, values in arrays.items()}
    return found
