"""The tables of what was run, of the truth, of the pools and of the ablation: HTML blocks, every figure with n and interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.unpaired.runs import ARMS, PHYSICAL, Study, describe
from experiments.unpaired.tables import NAMES, STRONG
from medjax import report
from medjax.build.data import Data
from medjax.data import led_pairs
from medjax.data.pools import HIGH, LOW, in_pool
from medjax.report.blocks import cell, p_value

SPLITS = ("train", "validation", "test")
METRICS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}
BALANCE = {"grey": "mean grey level", "body": "body's share of the image"}


def facts(study: Study, data: Mapping[str, Data]) -> str:
    """What was trained, on how many images, in a few lines."""
    rows = [("scale", study.scale_name), ("seed of the trainings", study.seed)]
    for arm, each in data.items():
        sizes = [
            f"{split}: {len(in_pool(each.source, own, LOW))} low, {len(in_pool(each.source, own, HIGH))} high"
            for split, own in each.splits.items()
        ]
        told = f"`{each.source.kind}`; one split file by patient for every stage: {'; '.join(sizes)}"
        rows.append((f"{ARMS[arm]}: pools", told))
        for name in study.runs(arm):
            known = describe(study, arm, name)
            parameters = ", ".join(f"{net} {count:,}" for net, count in known["parameters"].items())
            told = f"`{known['config']}`, {known['pixels']} pixels, {known['steps']:,} steps of {known['batch']} images"
            rows.append((known["label"], f"{told}; parameters: {parameters}; `{known['source']}`"))
        if "physical" in study.runs(arm):
            made = led_pairs.read_manifest(study.pairs(arm, PHYSICAL))["made_by"]
            told = (
                f"{' and '.join(made['steps'])}, {made['photons']:g} photons: of those tried the number whose noise"
                f" ({made['noise']['made']:.4f}) is nearest to that of the low-quality training images"
                f" ({made['noise']['low']:.4f}); other steps are taken as known"
            )
            rows.append((f"{ARMS[arm]}: degradation by physics", told))
    return report.table(("", ""), rows)


def restored(found: Mapping[str, Any]) -> list[str]:
    """Every row against the truth, and LED minus every other, paired."""
    body = [(NAMES.get(row, row), *(cell(m, values[m]) for m in METRICS)) for row, values in found["rows"].items()]
    caption = f"Against the known truth, {found['n']} patients held out from every stage. Means [95% bootstrap interval]."
    bold = [i for i, row in enumerate(found["rows"]) if row in STRONG]
    blocks = [report.table(("", *METRICS.values()), body, caption=caption, strong=bold)]
    for led, others in found["differences"].items():
        body = [
            (NAMES.get(row, row), cell("psnr", gain["psnr"], sign=True), p_value(gain["psnr"]["p_value"]),
             cell("ssim", gain["ssim"], sign=True), gain["psnr"]["n"])
            for row, gain in others.items()
        ]  # fmt: skip
        caption = f"{NAMES[led]} minus every other row, patient by patient: mean [95% interval], two-sided sign-flip test."
        blocks.append(report.table(("minus", "PSNR (dB)", "p", "SSIM", "n"), body, caption=caption))
    return blocks


def balance(found: Mapping[str, Any]) -> str:
    """Grey level and body size of the two pools."""
    sets = {
        "training pools": found["pools"],
        "the same, matched": found["matched"],
        "degraded by CycleGAN, against before": found["made"],
    }
    body = [
        (name, BALANCE[measure], f"{one[LOW]['mean']:.3f}", f"{one[HIGH]['mean']:.3f}", f"{one['smd']:+.2f}", f"{one['ks']:.2f}",
         p_value(one["p_value"]), f"{one[LOW]['n']}, {one[HIGH]['n']}")
        for name, each in sets.items() if each for measure, one in each.items()
    ]  # fmt: skip
    left = found["left"]
    why = f"Matching would leave {left[LOW]} low and {left[HIGH]} high." if left else f"They cannot be matched: {found['why']}."
    by = f"matched by {' and '.join(found['match'])}" if found["match"] else "not matched"
    caption = (
        "What a translator between pools must not learn. Difference: low minus high over their spread (0.1 is called negligible);"
        f" KS: Kolmogorov and Smirnov's. The pools were {by} before training. {why}"
        " The last rows: the same high-quality test images after the degradation (low) and before (high), where no difference of"
        " bodies belongs."
    )
    return report.table(("", "", "low", "high", "difference", "KS", "p", "n"), body, caption=caption)


def ablation(found: Mapping[str, Any]) -> str:
    """Start, condition, sampler and steps, one at a time."""
    body = []
    for name, row in found["rows"].items():
        f = row["fields"]
        shown = "f(x)" if f["condition"] == "enhanced" else "x"
        told = f"{f['sampler']}, {f['steps']} steps, from {f['start'] or 'noise'}, on {shown}"
        body.append((name, told, cell("psnr", row["psnr"]), cell("psnr", row["difference"], sign=True), row["to"],
                     cell("ssim", row["ssim"]), f"{row['ms']:.3g}", row["psnr"]["n"]))  # fmt: skip
    caption = (
        f"{found['n']} {found['of']}; of DDPM in all steps fewer. One draw each, of the same noise; differences in PSNR are"
        " paired, to the row named beside them on the same images. f(x): what the CycleGAN made of x. The start is the number"
        " of noising steps that f(x) gets before it is refined. Milliseconds an image on this machine, warm. Nothing was chosen"
        " by this table."
    )
    header = ("", "inference", "PSNR (dB)", "difference", "to", "SSIM", "ms", "n")
    return report.table(header, body, caption=caption, strong=[0])
