"""Volumes through a trained run: what `medjax enhance` does with NIfTI files and DICOM series.

A run trained on slices of volumes sees the same canvases here: head centred, same millimetres per pixel, same neighbours
as channels, intensities mapped by the same rule. What is written lies on the input's grid in the input's type; a
translation is written in the input's own scale of intensities, since MR values have no unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from medjax.build.evaluation import Model, load
from medjax.data import intensities, slices
from medjax.formats.volume import (
    Derivation,
    Volume,
    from_ras,
    is_volume,
    list_volumes,
    read_volume,
    to_ras,
    volume_suffix,
    with_values,
    write_volume,
)
from medjax.inference import Outcome
from medjax.slicewise import through_slices
from medjax.types import ConfigError, DataError, MedjaxError

VOLUMETRIC = ("mri_pairs", "phantom_mri", "volumes")


def options_of(config: ConfigDict) -> ConfigDict:
    """The section of the run's own source, in `config.data`; ConfigError for a run that was not trained on slices of volumes."""
    if config.data.source not in VOLUMETRIC:
        raise ConfigError(f"a run trained on {config.data.source} takes images, not volumes")
    return config.data[config.data.source]


def enhance_volume(
    model: Model, volume: Volume, *, plane: str = "", batch_size: int = 8, progress: bool = False
) -> Volume:
    """The volume enhanced or translated slice by slice, on the same grid; float32 values in the input's scale.

    plane: across which the slices are cut; "" is that of training. Slices without a voxel of the head stay as they are in
    an enhancement and are 0 in a translation.
    """
    options, config = options_of(model.config), model.config
    translation = "direction" in options
    ras, mask, centre, (low, high) = _measured(volume, options)
    unit = intensities.to_unit_range(ras.values, low, high)
    fov = options.fov_mm or float(model.resolved.get("fov_mm", 0))
    plan = slices.slice_plan(ras, plane=plane or options.plane, fov_mm=fov, centre=centre)
    numbers = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != plan.axis)))
    context = options.get("context", 0)
    out = np.zeros_like(unit) if translation else unit.copy()
    predict, key = model.predict(), jax.random.key(0)
    with tqdm(total=len(numbers), unit="slice", disable=not progress, leave=False) as bar:
        through_slices(
            lambda x: predict({"source": x, "index": np.zeros(len(x), np.int32)}, key)["target"],
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


def _measured(volume: Volume, options: ConfigDict) -> tuple:
    """(RAS volume, mask, centre of the canvases or None, the values of 0 and 1) by the rule of the run's source."""
    if "window" not in options:
        mask = options.get("mask", "auto")
        head = intensities.read_head(volume, percentiles=options.percentiles, mask=mask)
        return head.volume, head.mask, head.centre, (head.low, head.high)
    ras = to_ras(volume)
    mask = np.ones(ras.values.shape, bool)
    if options.window:
        return ras, mask, None, tuple(options.window)
    body, _ = intensities.head_mask(ras.values, ras.spacing, name=volume.path)
    return ras, mask, None, intensities.percentile_window(ras.values, body, options.percentiles, name=volume.path)


def suffix_of(config: ConfigDict) -> str:
    """What a translated volume's name gains: `_synthetic-T2`."""
    direction = options_of(config).get("direction", ())
    return f"_synthetic-{direction[1]}" if direction else ""


def plan(inputs: Sequence[str | Path], output: Path, *, suffix: str) -> list[tuple[Path, Path]]:
    """(input, output) for each volume; folders that are no series themselves are searched to their depth."""
    found: dict[Path, Path] = {}
    for given in map(Path, inputs):
        if not given.exists():
            raise DataError(f"{given}: no such file or folder")
        for path in [given] if is_volume(given) else list_volumes(given, recursive=True):
            relative = path.relative_to(given) if path != given else Path(path.name)
            ending = volume_suffix(path)
            stem = relative.name[: len(relative.name) - len(ending)]
            target = output / relative.with_name(f"{stem}{suffix}{ending}")
            if target in found.values():
                raise DataError(f"{path}: another input has the same name, so {target.name} would be written twice")
            if target.resolve() == path.resolve():
                raise ConfigError(f"{path}: the output would replace an input; give another output folder")
            found[path] = target
    return list(found.items())


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
) -> Outcome:
    """Enhance or translate volumes into `output` by a trained run; the counterpart of `evaluation.enhance`.

    A volume that fails is reported in `failed` and the others go on.
    """
    model = load(workdir, which=which)
    outcome, suffix = Outcome([], [], []), suffix_of(model.config)
    derivation = Derivation(series=suffix.removeprefix("_") or "enhanced by medjax", deidentify=deidentify)
    for path, target in plan(inputs, Path(output), suffix=suffix):
        try:
            if target.exists() and not overwrite:
                raise DataError(f"{target}: exists already and is not overwritten unless asked")
            result = enhance_volume(model, read_volume(path), plane=plane, progress=progress)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_volume(target, result, derivation=derivation)
            outcome.written.append(target)
        except (MedjaxError, OSError) as error:
            outcome.failed.append((path, str(error) if str(path) in str(error) else f"{path}: {error}"))
    return outcome
