"""The study's report: one page that answers what the paper leaves open, with everything the answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.common import protocol_blocks
from experiments.superres import plots, speed, tables, tables_other, targets
from experiments.superres.runs import MODALITIES, RUNS, Opened, Study, title
from experiments.superres.scores import Results
from experiments.superres.verdicts import Found
from medjax import report
from medjax.report import Section
from medjax.report.blocks import cell

TITLE = "Super-resolution of X-rays, CT and MR: what a network adds to interpolation"
MARGINS = {"bicubic": 0.6, "lanczos": 0.4}  # dB that an L1 phase should gain to be worth its trouble


def build(study: Study, opened: Opened, results: Results, found: Found, claims: Sequence[dict]) -> Path:
    """Write `report.html`; returns its path."""
    sets = list(opened.data)
    with_gan = [pairs for pairs in sets if results.gan(pairs)]
    sections = [
        Section("", [_banner(study, opened), report.text(answer(results, found, sets))]),
        Section("What was run", [tables_other.facts(study, opened), *tables.absent(opened)]),
        Section("The paper's table, with the rows it lacks", [block for p in sets for block in _scores(results, p)]),
        Section("Image by image", [tables.image_by_image(results, p) for p in sets]),
        Section("In detail", [block for p in sets for block in plots.details(study, opened, results, p)]),
        Section("Over feature networks", [block for p in sets for block in tables.features(results, p)]),
        Section("Sharpness and artefacts", [tables.artefacts(results, p) for p in with_gan]),
        Section("Between L1 and GAN", [b for p in with_gan for b in _interpolation(results, p)]),
        Section("Another modality", _across(found)),
        Section("What is done to the target", [tables_other.of_targets(found.targets)]),
        Section("Which bicubic", [tables_other.of_resamplers(found.targets)]),
        Section("Where the paper's figures lie", [tables_other.placing(found.targets)]),
        Section("In real time", [tables_other.speeds(found.speed, results)]),
        Section("One image without a set", _alone(study, found)),
        Section("Images trained on", [tables.optimism(results)]),
        Section("Training", [plots.together(results), *[b for run in results.rows for b in plots.training(results, run)]]),
        Section("Seeds", [block for block in [tables.seeds(study, results)] if block]),
        Section("Claims of the paper", [report.claims_table(claims)]),
        Section("Protocol and versions", protocol_blocks(results.summaries[opened.runs[0]][0])),
    ]
    subtitle = f"A reproduction study of paper 003 (ESRGAN on medical images), scale {study.scale_name}"
    return report.save(study.workdir / "report.html", report.page(TITLE, sections, subtitle=subtitle))


def _banner(study: Study, opened: Opened) -> str:
    if not study.real:
        return report.warning(
            "**These are phantoms, not patients.** Every image was computed from a model of the chest or the head. The figures"
            " show that the method works and compare methods with each other; they say nothing about real images."
        )
    message = (
        f"**Real images**: {', '.join(MODALITIES[m] for m in dict.fromkeys(RUNS[run].modality for run in opened.runs))},"
        " reduced by computer. No reader has judged any picture here: scores say how near an image is to the original, not"
        " whether a finding can still be seen, nor whether one was invented."
    )
    if study.scale_name != "paper":
        message += (
            f" This is the **{study.scale_name}** scale: networks and trainings are smaller than published, so gains are"
            " smaller; what can be read is how rows compare."
        )
    return report.note(message)


def answer(results: Results, found: Found, sets: Sequence[str]) -> str:
    """What came out, in a few sentences, each as strong as its figures."""
    lines = [_gain(results, pairs) for pairs in sets]
    mean, _, _ = targets.paper_mean()
    plain = found.targets["targets"][targets.PLAIN]["psnr"]
    both = found.targets["targets"]["median, then Gaussian"]["psnr"]
    lines.append(
        f"- The paper's five images average {mean:.2f} dB; x4 bicubic of X-rays alone has {plain:.2f} dB, and {both:.2f} dB"
        " where the target was filtered first."
    )
    light = [row for row in found.speed["rows"] if row in RUNS and RUNS[row].network == "light"]
    if light:
        ms = [speed.milliseconds(found.speed, row) for row in (light[0], speed.PUBLISHED)]
        side = found.speed["frame"]
        lines.append(
            f"- From {side} to {2 * side} pixels the light generator takes {ms[0]:.1f} ms a frame here, the published one"
            f" {ms[1]:.0f} ms."
        )
    opening = "PSNR of held-out patients, paired, with 95% intervals; the GAN phase begins from the L1 phase."
    return f"{opening}\n\n" + "\n".join(lines)


def _gain(results: Results, pairs: str) -> str:
    first, gan = results.first(pairs), results.gan(pairs)
    gains = {row: results.versus(pairs, first, row, "psnr") for row in MARGINS}
    text = (
        f"- {title(pairs)}: L1 has **{cell('psnr', gains['bicubic'], sign=True)} dB** over bicubic and"
        f" {cell('psnr', gains['lanczos'], sign=True)} dB over Lanczos"
    )
    if pairs == "cxr_x4":
        reached = all(gains[row]["mean"] >= least for row, least in MARGINS.items())
        asked = f"the {MARGINS['bicubic']} and {MARGINS['lanczos']} dB that a network should gain to be worth its trouble"
        text += f", which {'reaches' if reached else '**falls short of**'} {asked}"
    if gan:
        against = results.versus(pairs, gan, first, "psnr")
        over = results.versus(pairs, gan, "bicubic", "psnr")
        text += (
            f"; the GAN {cell('psnr', against, sign=True)} dB against L1 and {cell('psnr', over, sign=True)} dB against bicubic"
        )
    return f"{text}."


def _scores(results: Results, pairs: str) -> list[str]:
    return [tables.table_one(results, pairs), tables.differences(results, pairs), plots.intervals(results, pairs)]


def _interpolation(results: Results, pairs: str) -> list[str]:
    if len(results.mixed[results.gan(pairs)]) < 2 and pairs != "cxr_x4":
        return []
    return [tables.interpolation(results, pairs), *plots.interpolation(results, pairs)]


def _across(found: Found) -> list[str]:
    if len(found.across) < 2:
        return [report.text("Not run: there is one modality alone.")]
    return [tables_other.other_modalities(found.across)]


def _alone(study: Study, found: Found) -> list[str]:
    if not found.alone:
        return [report.text("Not run: the scale has no run at x2.")]
    opening = (
        "Each input is its own training set: reduced once more, it shows the network the way back (`data.self_supervised`),"
        " and the reference serves the score alone."
    )
    first = found.alone[0]
    blocks = [report.text(opening), tables_other.by_itself(found.alone)]
    return [*blocks, plots.by_itself(study, first["index"], first["name"])]
