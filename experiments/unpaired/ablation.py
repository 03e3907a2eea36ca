"""What inference leaves open, tried on one trained model: its start, its condition, its sampler and its steps.

Where the truth is known, test images are compared with it; else validation images of the pairs with their targets. Nothing is
chosen by what comes out.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from experiments.unpaired import enhanced
from experiments.unpaired.restored import qualities
from experiments.unpaired.runs import Study
from experiments.unpaired.scales import CONDITION, FRESH
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build.evaluation import load
from medjax.metrics.statistics import compare, summary

REFERENCE = "as the study has it"


def measure(study: Study, arm: str, test: enhanced.Tested, data: build_data.Data) -> dict[str, Any]:
    """`{"rows": {setting: {"psnr", "ssim": summaries, "difference": of PSNR to the setting `to`, paired, "ms", "fields"}}, "of",
    "n", "condition": for `verdicts_images.condition`, "starts": for `verdicts_paper.start`}`. A setting is compared with
    `REFERENCE`, one that starts from noise alone with `FRESH`.
    """
    inputs, truth, index, of = _images(study, arm, test, data)
    m = configs.read(study.folder(arm, "diffusion")).method
    own = {name: m[name] for name in ("condition", "start", "sampler", "steps")}
    settings = {REFERENCE: own} | {name: own | fields_of(given, m) for name, given in study.scale.settings.items()}
    scores: dict[str, dict[str, np.ndarray]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, fields in settings.items():
        same = next((other for other in scores if settings[other] == fields), None)
        if same:
            scores[name], rows[name] = scores[same], rows[same]
            continue
        few = slice(0, study.scale.many if fields["steps"] > 100 else len(inputs))
        made, ms = _drawn(study, arm, fields, inputs[few], index[few])
        scores[name] = qualities({name: made}, truth[few])[name]
        beside = FRESH if name != FRESH and not fields["start"] and FRESH in scores else REFERENCE
        difference = compare(scores[name]["psnr"], scores[beside]["psnr"][few])
        rows[name] = {metric: summary(values) for metric, values in scores[name].items()}
        rows[name] |= {"difference": difference, "to": beside, "ms": ms, "fields": fields}
    return {"rows": rows, "of": of, "n": len(inputs), "condition": _condition(scores), "starts": _starts(scores, settings)}


def fields_of(given: dict[str, Any], method: Any) -> dict[str, Any]:
    """Fields of `config.method` of a setting, whose start is a share of T and whose steps may be 0: all there are."""
    fields = dict(given)
    if "start" in fields:
        fields["start"] = round(fields["start"] * method.num_times)
    if fields.get("steps") == 0:
        fields["steps"] = fields.get("start", method.start) or method.num_times
    return fields


def _images(study: Study, arm: str, test: enhanced.Tested, data: build_data.Data) -> tuple:
    """(inputs, what they are to become, their numbers, in words which they are)."""
    most = study.scale.ablated
    if test.truth is not None:
        return test.low[:most], test.truth[:most], test.index[:most], "test images, against the known truth"
    sources, targets = enhanced.validation_pairs(study, arm, data, most)
    told = "validation images of the CycleGAN's pairs, against their targets: no truth is known of low-quality images"
    return np.stack(sources), np.stack(targets), np.arange(len(sources)), told


def _drawn(study: Study, arm: str, fields: dict[str, Any], inputs: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, float]:
    """The images of one setting, and milliseconds for each of them once compiled."""
    key, draw = enhanced.own_key(), load(study.folder(arm, "diffusion"), sampling=fields).sample()
    enhanced.applied(key, draw, inputs[:1], index[:1])
    begun = time.perf_counter()
    made = enhanced.applied(key, draw, inputs, index)
    batches = -(-len(inputs) // enhanced.BATCH)
    return made, 1e3 * (time.perf_counter() - begun) / (batches * enhanced.BATCH)


def _condition(scores: dict[str, dict[str, np.ndarray]]) -> dict[str, Any] | None:
    """Conditioned on x, as trained, and on f(x)."""
    if CONDITION not in scores:
        return None
    x, fx = scores[REFERENCE]["psnr"], scores[CONDITION]["psnr"]
    return {"x": {"psnr": summary(x)}, "f(x)": {"psnr": summary(fx)}, "difference": compare(fx, x)}


def _starts(scores: dict[str, dict[str, np.ndarray]], settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """{start: {"psnr": PSNR minus that of a start from noise alone, "n"}} of the settings that differ in nothing else."""
    if FRESH not in scores:
        return {}
    fresh, found = scores[FRESH]["psnr"], {}
    for name, fields in settings.items():
        alone = all(fields[k] == settings[FRESH][k] for k in ("condition", "sampler", "steps"))
        if alone and fields["start"]:
            found[str(fields["start"])] = {"psnr": compare(scores[name]["psnr"], fresh), "n": len(fresh)}
    return found
