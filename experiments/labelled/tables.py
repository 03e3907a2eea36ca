"""The tables of images and labels: HTML blocks, every figure with n, its interval, and what it stands beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.labelled import counts, domain
from experiments.labelled.judged import Results, distance
from experiments.labelled.runs import RUNS, SETS, Study, describe
from medjax import report
from medjax.build.data import Data
from medjax.figures import NAMES
from medjax.metrics.markdown_sets import record, share
from medjax.report.blocks import cell, number, p_value

SPLITS = ("train", "validation", "test")
JUDGED = {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "auc": "AUC"}
METRICS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}
PHASES = {"srresnet": "SRResNet, pixel loss", "srgan": "SRGAN, begun from it"}


def facts(study: Study, data: Mapping[str, Data]) -> str:
    """What was trained, on how many images, in a few lines."""
    rows = [("scale", study.scale_name), ("seeds of the generators", study.seeds)]
    for name in study.runs:
        known = describe(study, name)
        sizes = ", ".join(f"{s} {len(data[RUNS[name].images or 'large'].splits[s])}" for s in SPLITS)
        if RUNS[name].kind == "classifier":
            sizes = ", ".join(f"{s} {sum(of.values())}" for s, of in known["counts"].items())
        parameters = ", ".join(f"{net} {count:,}" for net, count in known["parameters"].items())
        told = f"`{known['config']}`, {known['pixels']} pixels, {known['steps']:,} steps of {known['batch']} images"
        rows.append((known["label"], f"{told}; parameters: {parameters}; `{known['source']}`, images: {sizes}"))
    return report.table(("", ""), rows)


def labels(found: Mapping[str, Any]) -> list[str]:
    """Counts of each class, at hand and of all of ChestX-ray14."""
    body = []
    for name, here in found["classes"].items():
        known = counts.known(found, name)
        often = [f"{v:.2f}" if v else "–" for v in (known["repeat_any"], known["repeat_single"])]
        body.append((name, f"{known['any']:,}", f"{known['single']:,}", *often, here["any"], here["single"], here["patients"]))
    origin = "the table at hand" if found["whole"] else "as an earlier look at its table counted; the table is not at hand"
    both = ", ".join(f"{pair} {n}" for pair, n in found["overlap"].items())
    caption = (
        f"Images of each class. All of ChestX-ray14: {origin}; `times`: how often each image would come to make"
        f" {counts.WANTED:,}. At hand: `{found['source']}`, {found['images']:,} images, of which {found['several']:,} have two"
        f" labels or more; of two classes at once: {both} (all of ChestX-ray14: Mass + Pneumonia {counts.overlap(found)})."
    )
    header = ("class", "all", "no other label", "times", "times, no other", "at hand", "no other label", "patients")
    return [report.table(header, body, caption=caption)]


def classifiers(results: Results) -> str:
    """The judges on held-out real images, beside the most frequent class and the mean grey level."""
    body = []
    for images, (summary, _) in results.classifiers.items():
        for row, values in summary["rows"].items():
            name = "classifier" if row == "model" else NAMES.get(row, row)
            body.append((SETS[images], name, *(cell(m, values[m]) for m in JUDGED), summary["n"]))
    caption = "The judges on held-out real images [95% interval over patients], beside what needs no picture."
    strong = [i for i, line in enumerate(body) if line[1] == "classifier"]
    return report.table(("images", "", *JUDGED.values(), "n"), body, caption=caption, strong=strong)


def overview(study: Study, results: Results) -> str:
    """A line for each generator: distance beside its floor, diversity, copies, and whether the class can be seen."""
    body, networks = [], {}
    for images, scored in results.generators.items():
        for seed, (summary, _) in enumerate(scored):
            key, model = distance(summary)
            floor = distance(summary, row="real")[1]
            pooled = summary["diversity"].get("all") or next(iter(summary["diversity"].values()), {})
            copies = next(iter(summary["memorisation"].values()))
            name = SETS[images] + (f", seed {seed}" if study.seeds > 1 else "")
            seen = [_short(summary["classifier"][row]["balanced_accuracy"]) for row in ("model", "real")]
            networks[f"`{key.partition('/')[2]}`"] = None
            body.append(
                (name, record(model), record(floor), record(pooled.get("ratio")),
                 f"{copies['ratio']:.2f}", f"{copies['closer']:.0%}", *seen, summary["n"])
            )  # fmt: skip
    caption = (
        f"KID over {', '.join(networks)} to held-out images, of generated images and of as many training images; MS-SSIM of two"
        " images of a class over that of real ones; distance to the nearest training image over that of held-out images"
        " (medians), and the share nearer than the nearest twentieth of these; balanced accuracy of the classifier, chance one"
        " over the number of classes [95%]."
    )
    header = ("generator of", "KID", "KID, real", "likeness", "distance", "nearer", "class seen", "seen, real", "n")
    return report.table(header, body, caption=caption)


def _short(entry: Mapping[str, Any]) -> str:
    """A mean and its interval with two decimals."""
    ends = entry.get("ci95")
    return "–" if entry["mean"] is None else f"{entry['mean']:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


def threshold(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What the threshold lets pass, and what that is worth."""
    body = []
    for images, each in found.items():
        for label, passed in each["passed"].items():
            agreed = each["agreement"] if label == "all" else {}
            sides = [share(agreed[side]) if agreed.get(side) else "–" for side in ("passed", "failed")]
            body.append((SETS[images], label, share(passed), *sides))
        body.append((SETS[images], "held-out real", share(each["held_out"]), "–", "–"))
    most = next(iter(found.values()))["most"]
    caption = (
        f"Images that reach a probability of {next(iter(found.values()))['threshold']:g} [95%]. Of an optimal discriminator at"
        f" most {most:.1%} of the generated can, and none where the generator is perfect. Then: how often the classifier sees"
        " the class asked for, in images that pass and in those that do not."
    )
    strong = [i for i, line in enumerate(body) if line[1] == "all"]
    header = ("images", "class", "passed", "class seen, passed", "class seen, failed")
    return report.table(header, body, caption=caption, strong=strong)


def commands(found: Mapping[str, Mapping[str, Any]], written: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What `medjax synthesize` said, with the threshold and without, and how long an image took."""
    lines = [
        f"- {SETS[images]}, `--threshold=0.9 --count={each['filter']['wanted']} --max_tries={each['tried']}`:"
        f" {each['filter']['told'] if not each['filter']['ms'] else str(each['filter']['written']) + ' images written.'}"
        for images, each in found.items()
    ]
    columns = ("generator", "discriminator", "enlargement", "writing", "kept")
    rows = {f"{SETS[name.partition('_')[0]]}, {name.partition('_')[2]}": p["ms_per_image"] for name, p in written.items()}
    rows |= {f"{SETS[images]}, filtered": each["filter"]["ms"] for images, each in found.items() if each["filter"]["ms"]}
    body = [(name, *(f"{ms[c]:.3g}" if c in ms else "–" for c in columns)) for name, ms in rows.items()]
    caption = "Milliseconds an image on this machine, warm; `kept`: for each image that was written."
    return [report.text("\n".join(lines)), report.table(("", *columns), body, caption=caption)]


def enlarged(found: Mapping[str, Any], sizes: tuple[int, int]) -> list[str]:
    """Super-resolution of held-out real images, and the paired differences."""
    low, high = sizes
    body = [
        (PHASES.get(row) or NAMES.get(row, row), *(cell(m, values[m]) for m in METRICS)) for row, values in found["rows"].items()
    ]
    caption = (
        f"From {low} to {high} pixels, x{high // low} (the paper: from 128 to 512, x4), {found['n']} held-out patients. Means"
        " [95% bootstrap interval]."
    )
    strong = [i for i, row in enumerate(found["rows"]) if row in PHASES]
    blocks = [report.table(("", *METRICS.values()), body, caption=caption, strong=strong)]
    body = [
        (name.replace("srresnet", "SRResNet").replace("srgan", "SRGAN"), cell("psnr", gain["psnr"], sign=True),
         p_value(gain["psnr"]["p_value"]), cell("ssim", gain["ssim"], sign=True), gain["psnr"]["n"])
        for name, gain in found["gains"].items()
    ]  # fmt: skip
    caption = "Paired differences, patient by patient: mean [95% interval], two-sided sign-flip test."
    return [*blocks, report.table(("", "PSNR (dB)", "p", "SSIM", "n"), body, caption=caption)]


def gap(found: Mapping[str, Any]) -> list[str]:
    """Distances of enlarged real and enlarged generated images to real ones, and how much they differ."""
    keys = list(found["features"]["real"])
    rows = {row: name for row, name in domain.ROWS.items() if row in found["features"]}
    networks = list(dict.fromkeys(key.partition("/")[2] for key in keys))
    blocks = []
    for network in networks:
        own = [key for key in keys if key.partition("/")[2] == network]
        body = [(name, *(record(found["features"][row].get(key)) for key in own)) for row, name in rows.items()]
        change = ["SRGAN: generated minus real"]
        change += [record(found["differences"].get(key)) for key in own]
        caption = (
            f"Over `{network}`: {found['n']} images of each row against {found['reference']} real images of {found['sizes'][1]}"
            " pixels. Lower is nearer; the difference takes both for independent."
        )
        titles = [{"fd": "Frechet [95%]", "fid": "FID [95%]", "kid": "KID [95%]"}[key.partition("/")[0]] for key in own]
        blocks.append(report.table(("", *titles), [*body, change], caption=caption, strong=[len(body)]))
    absent = [f"- {each['network']}: {each['why']}." for each in found["absent"]]
    return blocks + ([report.text("Not measured:\n\n" + "\n".join(absent))] if absent else [])


def utility(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Classifiers trained in three ways, tested on the same real images."""
    names = {"real": "trained on real images", "synthetic": "on synthetic ones", "both": "on both",
             "majority": "most frequent class", "grey": "mean grey level, of real images",
             "grey_synthetic": "mean grey level, of synthetic ones"}  # fmt: skip
    blocks = []
    for images, each in found.items():
        size = {arm: sum(of.values()) for arm, of in each["train"].items()}
        body = [(name, size.get(row, "–"), *(cell(m, each["rows"][row][m]) for m in JUDGED)) for row, name in names.items()]
        caption = (
            f"{SETS[images][0].upper()}{SETS[images][1:]}: one classifier, the same steps, tested on {each['n']} real patients"
            " that neither it nor the generator has seen [95% interval over patients]."
        )
        blocks.append(report.table(("", "images", *JUDGED.values()), body, caption=caption, strong=[1, 2]))
        lines = []
        for arm in ("synthetic", "both"):
            test = each["tests"][arm]["mcnemar"]
            lines.append((f"{names[arm]} against real", "decisions (McNemar)", p_value(test["p_value"]) if test else "–"))
            for label, one in each["tests"][arm]["delong"].items():
                told = "–" if one is None else f"{cell('auc', {'mean': one['difference'], 'ci95': one['ci95']}, sign=True)}"
                p = p_value(one and one["p_value"])
                lines.append((f"{names[arm]} minus real", f"AUC of {label} (DeLong) {told}", p))
        blocks.append(report.table(("", "", "p"), lines, caption="Paired tests over patients, not adjusted for their number."))
    return blocks


def clahe(found: Mapping[str, Any]) -> str:
    """The same interpolation of images as they are and equalised first."""
    rows = found["rows"]
    plain = next(iter(rows.values()))
    body = [(name, f"{r['psnr']:.2f}", f"{r['psnr'] - plain['psnr']:+.2f}", f"{r['psnr_min']:.2f}–{r['psnr_max']:.2f}",
             number("ssim", r["ssim"])) for name, r in rows.items()]  # fmt: skip
    caption = (
        f"x4 bicubic (Pillow) of {plain['n']} X-rays at {found['size']} pixels against their own targets, 8 x 8 regions. An"
        " earlier look at the paper had 33.9 dB without and 27.5 dB with CLAHE on other NIH images."
    )
    return report.table(("targets", "PSNR (dB)", "change", "range", "SSIM"), body, caption=caption, strong=[0])
