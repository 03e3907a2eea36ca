"""What misalignment costs: the true T2 itself, a perfect predictor, scored beside the target or across it.

The paper takes slices 90 to 110 of stacks of 150 (T1, stored sagittal) and 130 (T2, stored axial), each by its own index.
Two parts of that are measured here on volumes that do lie on each other, with no network in between: the true T2 some
millimetres along the slice axis away, and the true T2 in the T1's plane at the T1's index beside the target in its own.
Slices are those of the study's canvases at its pixel grid; both directions are averaged, then slices, then subjects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from scipy.ndimage import gaussian_filter

from experiments.translation.runs import Study, config_of
from medjax.build import data as build_data
from medjax.data.augment import resize_all
from medjax.data.records import subset
from medjax.metrics import psnr, psnr_inside, ssim, ssim_inside, statistics

SHIFTS = range(1, 17)  # mm
CENTRAL = 30.0  # mm from the middle: slices that have a neighbour at every shift
FIRST, LAST, T1_SLICES, T2_SLICES = 90, 110, 150, 130  # the paper's indices and stacks
AUDIT = {2: 30.6, 4: 25.3, 8: 20.7, 14: 18.1}  # dB, SPM's average T2 (avg152T2), whole slices
AUDIT_PLANES = (14.5, 0.22)  # dB and SSIM, axial beside sagittal, the same template
METRICS = ("psnr", "ssim", "psnr_inside", "ssim_inside")
TEMPLATE_FWHM = 8.0  # mm: how far 152 heads brought together by affine maps alone disagree, roughly
Slab = dict[str, np.ndarray]  # target [N, S, S, 1], region, position [N] in mm, rising, pixel_mm


def measure(study: Study) -> dict[str, Any]:
    """{"subjects", "blurred": {name: {"mm": [n], metric: [n]}}, "planes", "neighbour": {name: {metric: value}}}.

    subjects: scores by the distance of whole slices; blurred: the same of volumes as soft as an average template, which is
    what the audit measured on; planes: axial beside sagittal by the paper's indices; neighbour: a slice beside the subject
    before at the same position, for scale.
    """
    found: dict[str, Any] = {"subjects": {}, "blurred": {}, "planes": {}, "neighbour": {}}
    before: Slab | None = None
    for (name, axial), (_, sagittal) in zip(slabs(study, "axial"), slabs(study, "sagittal"), strict=True):
        found["subjects"][name] = shifted(axial, study.scale.close)
        found["blurred"][name] = shifted(blurred(axial), study.scale.close)
        found["planes"][name] = across(axial, sagittal)
        if before is not None:
            found["neighbour"][name] = other(axial, before)
        before = axial
    return found


def slabs(study: Study, plane: str) -> Iterator[tuple[str, Slab]]:
    """Each subject's T2 in slices of `plane`, the whole head, at the pixel grid of the study."""
    config = config_of(study, "published")
    kind = config.data.source
    config.data[kind].update(plane=plane, range_mm=(), step_mm=0.0, context=0)
    source, _ = build_data.open_source(config)
    patients: dict[str, list[int]] = {}
    for i, record in enumerate(source.records):
        patients.setdefault(record.patient, []).append(i)
    for name, indices in list(patients.items())[: study.scale.measured]:
        own = subset(source, sorted(indices, key=lambda i: float(source.records[i].extra["position_mm"])))
        roles, side = ("target", "region"), config.data.image_size
        pairs = [resize_all({role: images[role] for role in roles}, side) for images in map(own.load, range(len(own)))]
        slab = {role: np.stack([pair[role] for pair in pairs]) for role in roles}
        slab["position"] = np.array([float(r.extra["position_mm"]) for r in own.records])
        yield name, slab | {"pixel_mm": np.array(float(own.records[0].extra["fov_mm"]) / side)}


@jax.jit
def _scores(output: np.ndarray, target: np.ndarray, region: np.ndarray) -> list[jax.Array]:
    return [psnr(output, target), ssim(output, target), psnr_inside(output, target, region), ssim_inside(output, target, region)]


def scored(output: np.ndarray, target: np.ndarray, region: np.ndarray, *, batch: int = 16) -> dict[str, float]:
    """Means over the slices [N, S, S, 1], batch by batch of one shape."""
    rows = []
    for first in range(0, len(output), batch):
        parts = [part[first : first + batch] for part in (output, target, region)]
        count = len(parts[0])
        padded = [np.concatenate([part, np.repeat(part[-1:], batch - count, axis=0)]) for part in parts]
        rows.append(np.stack([np.asarray(v)[:count] for v in _scores(*padded)]))
    return dict(zip(METRICS, np.nanmean(np.concatenate(rows, axis=1), axis=1).tolist(), strict=True))


def shifted(slab: Slab, close: int = 1) -> dict[str, list[float]]:
    """Scores of the T2 `k` slices away, for every k up to 16 mm: {"mm": [n], metric: [n]}, by every `close`-th central slice."""
    position = slab["position"]
    spacing = float(np.median(np.diff(position)))
    central = np.flatnonzero(np.abs(position) <= CENTRAL)[::close]
    found: dict[str, list[float]] = {"mm": [], **{metric: [] for metric in METRICS}}
    for k in range(1, int(SHIFTS[-1] / spacing) + 2):
        pairs = [(i, i + step) for i in central for step in (k, -k) if 0 <= i + step < len(position)]
        if not pairs:
            break
        here, there = (list(side) for side in zip(*pairs, strict=True))
        scores = scored(slab["target"][there], slab["target"][here], slab["region"][here])
        found["mm"].append(k * spacing)
        for metric, value in scores.items():
            found[metric].append(value)
    return found


def blurred(slab: Slab) -> Slab:
    """The slab as an average of many heads shows it: a Gaussian of `TEMPLATE_FWHM` mm in all three axes."""
    sigma = TEMPLATE_FWHM / math.sqrt(8 * math.log(2))
    steps = float(np.median(np.diff(slab["position"]))), *(float(slab["pixel_mm"]),) * 2
    return slab | {"target": gaussian_filter(slab["target"], [*(sigma / step for step in steps), 0])}


def share_of(index: int, slices: int) -> float:
    """Where slice `index` of a stack lies, 0 to 1."""
    return (index + 0.5) / slices


def across(axial: Slab, sagittal: Slab) -> dict[str, float]:
    """The true T2 in sagittal slices beside its own axial slices, by the paper's indices as shares of the head's extent."""
    pick = lambda slab, slices: [  # noqa: E731
        int(share_of(index, slices) * len(slab["position"])) for index in range(FIRST, LAST + 1)
    ]
    predicted, wanted = sagittal["target"][pick(sagittal, T1_SLICES)], pick(axial, T2_SLICES)
    return scored(predicted, axial["target"][wanted], axial["region"][wanted])


def other(slab: Slab, another: Slab) -> dict[str, float]:
    """A subject's T2 beside another's at the same distance from the middle of the head."""
    here = np.flatnonzero(np.abs(slab["position"]) <= CENTRAL)[::4]
    there = [int(np.argmin(np.abs(another["position"] - slab["position"][i]))) for i in here]
    return scored(another["target"][there], slab["target"][here], slab["region"][here])


def curve(found: dict[str, Any], metric: str) -> dict[int, dict[str, Any]]:
    """{mm: mean, interval, n over subjects}, each subject's scores interpolated linearly between whole slices; distances
    below one slice are left out."""
    rows = {}
    for mm in SHIFTS:
        reached = [s for s in found["subjects"].values() if s["mm"] and s["mm"][0] <= mm <= s["mm"][-1]]
        values = [float(np.interp(mm, s["mm"], s[metric])) for s in reached]
        if values:
            rows[mm] = statistics.summary(np.array(values))
    return rows


def mean_of(found: dict[str, Any], part: str, metric: str) -> dict[str, Any]:
    """Mean and interval over subjects of "planes" or "neighbour"."""
    return statistics.summary(np.array([row[metric] for row in found[part].values()]))
