"""Volumes through a trained run: what `medjax enhance` does with NIfTI files and DICOM series.

A run trained on slices of volumes sees the same canvases here: head centred, same millimetres per pixel, same neighbours
as channels, intensities mapped by the same rule. What is written lies on the input's grid in the input's type; a
translation is written in the input's own scale of intensities, since MR values have no unit.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from medjax import formats, inference
from medjax.build import enlarging
from medjax.build.evaluation import Model, load
from medjax.data import intensities, slices
from medjax.data.records import some
from medjax.formats.volume import (
    Derivation,
    Volume,
    from_ras,
    is_volume,
    list_pictures,
    list_volumes,
    read_series,
    read_volume,
    to_ras,
    volume_suffix,
    with_values,
    write_volume,
)
from medjax.slicewise import through_slices
from medjax.types import ConfigError, DataError, MedjaxError

VOLUMETRIC = ("mri_pairs", "mri_slices", "phantom_mri", "volumes")
# What a DICOM header says of the scan that was not made; "RM" is the standard's word for research.
NO_ACQUISITION = {
    "ScanningSequence": "RM", "SequenceVariant": "NONE", "EchoTime": None, "RepetitionTime": None, "InversionTime": None,
    "SequenceName": None, "ProtocolName": None, "FlipAngle": None, "EchoTrainLength": None, "EchoNumbers": None,
    "ScanOptions": None, "PulseSequenceName": None,
}  # fmt: skip


def options_of(config: ConfigDict) -> ConfigDict:
    """The section of the run's own source, in `config.data`; ConfigError for a run that was not trained on slices of volumes."""
    if config.data.source not in VOLUMETRIC:
        raise ConfigError(f"a run trained on {config.data.source} takes images, not volumes")
    return config.data[config.data.source]


def enhance_volume(
    model: Model, volume: Volume, *, plane: str = "", batch_size: int = 8, progress: bool = False
) -> Volume:
    """The volume enhanced or translated slice by slice, on the same grid; float32 values in the input's scale. A run of
    super-resolution gives slices of `config.data.scale` times the pixels, as many as there were.

    plane: across which the slices are cut; "" is that of training. A translation has nothing (the value that means 0)
    outside the head. Warns where the head is wider than the canvas or reaches beyond the slices trained on.

    Raises DataError for a volume of another kind than the run's: MR where it takes CT, or CT where it takes MR.
    """
    options, config = options_of(model.config), model.config
    translation = "direction" in options
    ras, mask, centre, (low, high) = _measured(volume, options)
    if config.data.scale > 1:
        return _enlarged(model, volume, ras, (low, high), plane or options.plane, progress)
    unit = intensities.to_unit_range(ras.values, low, high)
    plan = slices.slice_plan(ras, plane=plane or options.plane, fov_mm=options.fov_mm, centre=centre)
    numbers = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != plan.axis)))
    _warn(ras, options, plan, mask, numbers)
    context = options.get("context", 0)
    out = np.zeros_like(unit) if translation else unit.copy()
    with tqdm(total=len(numbers), unit="slice", disable=not progress, leave=False) as bar:
        through_slices(
            model.enhance(),
            lambda k: slices.stack(unit, plan, k, context=context),
            lambda k, image: slices.paste(out, image, plan, k),
            numbers,
            size=config.data.image_size,
            batch_size=batch_size,
            change=not translation,
            on_progress=lambda share: bar.update(round(share * len(numbers)) - bar.n),
        )
    if translation:
        values = intensities.from_unit_range(out * mask, low, high)
    else:  # the change alone, and none to what lies beyond the window: metal, and a scanner's padding
        inside = (ras.values >= low) & (ras.values <= high)
        values = ras.values + inside * (out - unit) * np.float32(high - low)
    return with_values(volume, from_ras(values, volume))


def _enlarged(model: Model, volume: Volume, ras: Volume, ends: tuple, plane: str, progress: bool) -> Volume:
    c = model.config.data
    return enlarging.enlarge_volume(
        model.enhance(),
        volume,
        ras,
        ends,
        factor=c.scale,
        axis=slices.plane_axis(plane),
        pixel_mm=options_of(model.config).fov_mm * c.scale / c.image_size,
        progress=progress,
    )


def _warn(ras: Volume, options: ConfigDict, plan: slices.Plan, mask: np.ndarray, numbers: np.ndarray) -> None:
    """Says what part of the volume the run has never seen, or cannot see."""
    name, side = ras.path or "the volume", plan.side * plan.pixel_mm
    shown = {a: np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in slices.in_plane(plan.axis)}
    widest = max(np.ptp(where) * ras.spacing[a] for a, where in shown.items())
    if widest > side + 1:
        warnings.warn(f"{name}: the head is {widest:.0f} mm wide and the canvas {side:.0f}; the rest is left out", stacklevel=3)
    if len(options.range_mm):
        low, high = options.range_mm
        beyond = np.mean((plan.positions[numbers] < low) | (plan.positions[numbers] > high))
        if beyond > 0.1:
            told = f"{name}: {beyond:.0%} of the slices lie beyond the {low:g} to {high:g} mm that the run was trained on"
            warnings.warn(told, stacklevel=3)


def _measured(volume: Volume, options: ConfigDict) -> tuple:
    """(RAS volume, mask, centre of the canvases or None, the values of 0 and 1) by the rule of the run's source."""
    is_ct, takes_ct = intensities.looks_like_ct(volume.values), bool(options.get("window", ()))
    if is_ct != takes_ct:
        kind = "CT (it has values far below 0)" if is_ct else "no CT (it has no values far below 0)"
        wanted = "CT in HU" if takes_ct else "MR"
        raise DataError(f"{volume.path or 'the volume'} is {kind}, where the run takes {wanted}")
    if "direction" in options:
        mask = options.get("mask", "auto")
        head = intensities.read_head(volume, percentiles=options.percentiles, mask=mask)
        return head.volume, head.mask, head.centre, (head.low, head.high)
    ras = to_ras(volume)
    mask = np.ones(ras.values.shape, bool)
    if takes_ct:
        return ras, mask, None, tuple(options.window)
    body, _ = intensities.head_mask(ras.values, ras.spacing, name=volume.path)
    return ras, mask, None, intensities.percentile_window(ras.values, body, options.percentiles, name=volume.path)


def suffix_of(config: ConfigDict) -> str:
    """What a translated volume's name gains: `_synthetic-T2`."""
    direction = options_of(config).get("direction", ())
    return f"_synthetic-{direction[1]}" if direction else ""


def plan(inputs: Sequence[str | Path], output: Path, *, config: ConfigDict) -> list[tuple[Path, Path]]:
    """(input, output) for each volume; see `inference.plan`. Folders that are no series themselves are searched, and what
    is there of the target contrast is left out with a warning.
    """
    suffix, target = suffix_of(config), options_of(config).get("direction", ("", ""))[1]

    def listed(given: Path) -> list[Path]:
        if given.is_dir() and not is_volume(given):
            found, beside = list_volumes(given, recursive=True), list_pictures(given)
            if beside:
                told = f"{len(beside)} pictures of {given} are left out: this run takes volumes ({some(p.name for p in beside)})"
                warnings.warn(told, stacklevel=2)
            kept = [p for p in found if not target or not re.search(rf"[-_]{re.escape(target)}$", _parts(p.name)[0])]
            if len(kept) < len(found):
                warnings.warn(f"{len(found) - len(kept)} volumes of {given} are {target} already and are left out", stacklevel=2)
            return kept
        if not is_volume(given):
            raise DataError(f"{given} is no volume: this run takes NIfTI files, folders of a DICOM series, multi-frame files")
        return [given]

    def renamed(name: str) -> str:
        stem, ending = _parts(name)
        return f"{stem}{suffix}{ending}"

    return inference.plan(inputs, output, listed=listed, renamed=renamed)


def _parts(name: str) -> tuple[str, str]:
    """A volume's name and its ending; a folder of a series has none."""
    ending = volume_suffix(name) or next((s for s in formats.SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(ending)], ending


def _members(path: Path, target: Path) -> Iterator[tuple[Volume, Path]]:
    """The volumes at `path` with the places they go to: one, or every series of a folder."""
    if not path.is_dir():
        yield read_volume(path), target
        return
    found = list(read_series(path).values())
    for number, volume in enumerate(found, start=1):
        yield volume, target if len(found) == 1 else target.with_name(f"{target.name}_series-{number}")


def enhance(
    workdir: str | Path,
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    plane: str = "",
    which: str = "best",
    overwrite: bool = False,
    deidentify: bool = False,
    progress: bool = True,
) -> inference.Outcome:
    """Enhance or translate volumes into `output` by a trained run; the counterpart of `evaluation.enhance`.

    A volume that fails is reported in `failed` and the others go on.
    """
    model = load(workdir, which=which)
    outcome, suffix = inference.Outcome([], [], []), suffix_of(model.config)
    options = options_of(model.config)
    derivation = Derivation(series=suffix.removeprefix("_") or "enhanced by medjax", deidentify=deidentify)
    if suffix:
        source, target = options.direction
        text = f"Synthetic {target} computed from {source} by medjax; no acquisition; not for diagnosis"
        derivation = replace(derivation, description=text, changed=NO_ACQUISITION)
    for path, output_path in plan(inputs, Path(output), config=model.config):
        try:
            for volume, place in _members(path, output_path):
                if place.exists() and not overwrite:
                    raise DataError(f"{place}: exists already and is not overwritten unless asked")
                result = enhance_volume(model, volume, plane=plane, progress=progress)
                place.parent.mkdir(parents=True, exist_ok=True)
                write_volume(place, result, derivation=derivation)
                outcome.written.append(place)
        except Exception as error:  # whatever is wrong with one file must not cost the user the others
            cause = str(error) if isinstance(error, MedjaxError | OSError) else f"{type(error).__name__}: {error}"
            outcome.failed.append((path, cause if str(path) in cause else f"{path}: {cause}"))
    return outcome
