"""The figures of the paper, remade: HTML blocks, each with a caption that says what it shows and of how many."""

from __future__ import annotations

from matplotlib.text import Text

from experiments.attention.elsewhere import Elsewhere
from experiments.attention.runs import ATTENTION, RUNS, Study, config_of
from experiments.attention.scores import Results, pairs
from medjax import figures, report
from medjax.build import data as build_data
from medjax.data import augment, degrade
from medjax.figures import NAMES, series
from medjax.rng import generator


def pipeline(study: Study, data: build_data.Data) -> str:
    """Figure 1: the degradation, step by step, on a test image at the size of the audit."""
    index, side = int(data.splits["test"][0]), study.scale.audit_size
    target = augment.resize(data.source.load(index)["target"], side)
    names, shown = {"gaussian_noise": "noise", "binomial_blur": "+ blur", "jpeg": "+ JPEG"}, {}
    for count in range(1, len(degrade.PAPER_STEPS) + 1):
        steps = degrade.PAPER_STEPS[:count]  # the same noise each time, so each panel adds one step to the last
        shown[names[steps[-1]]] = degrade.degrade(target, generator(0, "figure"), steps=steps)
    caption = (
        f"Figure 1 remade: noise (sigma 15 of 255), then blur ([1 2 1]/4), then JPEG 50, at {side} pixels, on"
        f" `{data.source.names[index]}`. PSNR above each; the square is enlarged. Blur raises PSNR here, because it"
        " averages the noise."
    )
    return report.figure(figures.comparison(shown, target), caption)


def training(results: Results, run: str, number: int) -> list[str]:
    """Figures 2 and 3: losses and validation quality of a run, with the input and the best classical row as levels."""
    rows = results.rows[run][0]
    blocks = []
    panels = figures.training_panels(rows)
    if panels:
        caption = (
            f"Figure {number} remade: losses of {RUNS[run].label}, seed 0, as logged (pale) and their running mean;"
            " dashed: validation."
        )
        blocks.append(report.figure(figures.curves(rows, panels), caption))
    best = results.best_classical()
    levels = {NAMES.get(r, r): {m: float(results.of(r, m).mean()) for m in ("psnr", "ssim")} for r in ("input", best)}
    if len(series(rows, "psnr", "validation")[0]):
        caption = (
            f"Validation quality of {RUNS[run].label}. The level lines are the means of the input and of"
            f" {NAMES.get(best, best)} on the test images."
        )
        blocks.append(report.figure(figures.quality_curves(rows, references=levels), caption))
    return blocks


def together(results: Results, metric: str = "psnr") -> str:
    """Validation PSNR of all runs on one pair of axes."""
    lines = {RUNS[run].short: series(rows[0], metric, "validation") for run, rows in results.rows.items()}
    drawn = figures.paths({k: v for k, v in lines.items() if len(v[0])}, ylabel="validation PSNR (dB), mean")
    return report.figure(drawn, "Validation PSNR of all runs, seed 0, on the same images.")


def gammas(results: Results) -> str:
    """Figure 3, bottom right: gamma of every self-attention block."""
    lines = {}
    for run in ATTENTION:
        rows = results.rows.get(run, [[]])[0]
        for name in dict.fromkeys(k for row in rows for k in row if k.startswith("gamma")):
            place = name.split("/")[-1].removeprefix("attention_").replace("_", " ")
            lines[f"{RUNS[run].short}: {place}"] = series(rows, name, "train")
    if not lines:
        return ""
    drawn = figures.paths(lines, ylabel="gamma (weight of attention)")
    drawn.axes[0].axhline(0, color="#222222", lw=0.8)
    caption = (
        "Gamma of every self-attention block, seed 0; it starts at 0, where the block changes nothing. The paper's"
        " stays within 0.0024 of 0, at a place where there is nothing to attend to."
    )
    return report.figure(drawn, caption)


def side_by_side(study: Study, data: build_data.Data, results: Results) -> list[str]:
    """Figure 4: the median test image in detail, then the best, the median and the worst of pix2pix."""
    names, psnr = data.source.names, results.evaluations["baseline"][0].scores["model"]["psnr"]
    scored = [names.index(name) for name in results.names]
    kept = [(value, i) for value, i in zip(psnr, scored, strict=True) if i in results.outputs["baseline"]]
    order = [i for _, i in sorted(kept, reverse=True)]
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    images = pairs(study, data, list(chosen.values()))
    runs = [run for run in ("l1_only", "baseline", "both") if run in results.outputs]
    shown = {
        case: {"input": images[i][0], **{RUNS[run].short: results.outputs[run][i] for run in runs}}
        for case, i in chosen.items()
    }
    middle = images[chosen["median"]][1]
    side = config_of(study, "baseline").data.image_size
    caption = (
        f"Figure 4 remade: `{names[chosen['median']]}`, the median test image by the PSNR of pix2pix, at {side}"
        " pixels, with error maps on one scale. Grey levels are not stretched; the square is where the reference has"
        " most detail."
    )
    blocks = [report.figure(figures.comparison(shown["median"], middle), caption)]
    full = {case: {**shown[case], "reference": images[i][1]} for case, i in chosen.items()}
    caption = (
        f"The best, the median and the worst of {len(order)} test images by the PSNR of pix2pix, so not picked by eye;"
        " PSNR under each."
    )
    return [*blocks, report.figure(figures.cases(full), caption)]


def distributions(results: Results) -> list[str]:
    """Figure 5: scores of pix2pix and of attention on every image, and their paired differences."""
    run = next((r for r in ("both", *ATTENTION) if r in results.evaluations), None)
    if run is None or len(results.names) < 3:
        return []
    blocks = []
    for metric in ("psnr", "ssim"):
        chosen = {RUNS[r].short: results.of(r, metric) for r in ("baseline", run)}
        drawn = figures.score_histograms({"input": results.of("input", metric), **chosen}, metric)
        blocks.append(
            report.figure(
                drawn,
                f"Figure 5 remade: {metric.upper()} of every test image (n = {len(results.names)}); dashed: means.",
            )
        )
        difference, entry = results.of(run, metric) - results.of("baseline", metric), results.versus(
            run, "baseline", metric
        )
        drawn = figures.difference_histogram(
            difference, metric, label=f"{RUNS[run].short} minus pix2pix", interval=entry["ci95"]
        )
        blocks.append(report.figure(drawn, f"{RUNS[run].label} minus pix2pix, image by image."))
    return blocks


def intervals(results: Results) -> str:
    """Table 1 as a picture."""
    points = {
        RUNS[row].short if row in RUNS else NAMES.get(row, row): results.mean(row, "psnr") for row in results.table()
    }
    caption = (
        "PSNR of Table 1 as a picture. The bars are intervals of each mean over images; compare rows by the paired"
        " differences."
    )
    return report.figure(figures.intervals(points, "psnr"), caption)


def as_they_come(found: Elsewhere) -> list[str]:
    """Images of the other hospital, nothing degraded, before and after."""
    blocks = []
    for picture, degree in zip(found.pictures, ("least", "middling", "most"), strict=False):
        i = int(picture["index"])
        shown = {
            RUNS[row].short if row in RUNS else NAMES.get(row, row): image
            for row, image in picture.items()
            if row not in ("as it came", "index")
        }
        drawn = figures.comparison(shown, picture["as it came"], target_label="as it came")
        for words in drawn.findobj(Text):
            words.set_text(words.get_text().replace("absolute error", "absolute change"))
        caption = (
            f"`{found.names[i]}`, as it came, and what the models make of it: the image that pix2pix changes {degree}."
            " There is no reference: the maps show change, not error, and the decibels say how alike the result is to"
            " the image as it came."
        )
        blocks.append(report.figure(drawn, caption))
    return blocks
