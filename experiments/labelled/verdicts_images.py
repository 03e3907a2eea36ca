"""Claims that trained networks decide: the threshold, speed, the domain gap, collapse, likeness, use, privacy, CLAHE."""

from __future__ import annotations

from typing import Any

from experiments.claims import Claim, verdict
from experiments.labelled import clahe as clahe_stage
from experiments.labelled.judged import keys_of
from experiments.labelled.runs import SETS, Study
from experiments.labelled.verdicts_paper import bound
from experiments.superres.targets import PLAIN
from experiments.superres.verdicts_images import on_real, why
from medjax.metrics.discrimination import proportion
from medjax.metrics.markdown_sets import cell, record, share

ALIKE = 1.2  # times as alike as real images, from which on generated ones are too few
NEARER = 0.05  # of held-out images, by construction, lie nearer than the nearest twentieth of them
MARGIN = 1.0  # dB by which preprocessing may move interpolation before a PSNR says nothing
SECOND, SIDE = 1000.0, 512  # ms, pixels


def threshold(study: Study, found: dict[str, Any]) -> Claim:
    """A discriminator cannot vouch for what fools it."""
    passed, agreed = found["passed"]["all"], found["agreement"]
    calibrated = found["calibration"]
    sides = ", ".join(f"{told} {share(agreed[side])}" for side, told in SIDES.items() if agreed[side])
    told = "too many for an optimal discriminator" if passed["ci95"][0] > bound() else "no more than an optimal one could pass"
    ours = (
        f"{share(passed)} of the generated images of {SETS[study.main]} reach it, {told} ({bound():.1%});"
        f" {share(found['held_out'])} of held-out real images do. Brier score {calibrated['brier']:.3f} (a coin: 0.25). The"
        f" classifier sees the class asked for in: {sides}"
    )
    better = bool(agreed["difference"]) and agreed["difference"]["ci95"][0] > 0
    word = "void" if not passed["count"] else on_real(study, passed["ci95"][0] <= bound() and better)
    return Claim(
        "threshold",
        "Images that pass the discriminator again with a 'real threshold' of 0.9 are 'accurate', of 'high confidence'",
        "no pass rate, no state of the discriminator, no number of tries",
        ours,
        passed["n"],
        word if study.real else "untestable",
        f"{why(study)}D* = p / (p + q) reaches 0.9 where p / q is 9 or more; as p / q has mean 1 or less over generated images,"
        " at most one in nine can, and none at equilibrium (Markov). Holds if no more pass than that, interval included, and the"
        " classifier sees the class asked for more often in those that pass, interval of the difference above 0. Void where"
        " nothing passes.",
    )


def _three_ways(study: Study, against: list[bool], holds: list[bool]) -> str:
    """`fails` where anything speaks against it, `holds` where all is as claimed, else `untestable`, as by simulated images."""
    return on_real(study, False) if any(against) else on_real(study, True) if holds and all(holds) else "untestable"


SIDES = {"passed": "those that pass", "failed": "those that do not"}


def speed(study: Study, found: dict[str, Any], written: dict[str, Any]) -> Claim:
    """Milliseconds an image, with and without those that are thrown away."""
    ms, cut = written["ms_per_image"], found["filter"]
    parts = ", ".join(f"{name} {value:.3g}" for name, value in ms.items() if name not in ("kept", "batch_size"))
    filtered = f"{cut['ms']['kept']:.3g} ms for each that passes 0.9, not enlarged" if cut["ms"] else f"filtered: {cut['told']}"
    low, high = written["run"]["size"][0], (written["upscale"] or written["run"])["size"][0]
    return Claim(
        "speed",
        "Generating an image for each of three classes 'took less than a second'",
        "less than a second, GTX 1050 Ti",
        f"{ms['kept']:.3g} ms an image of {low} pixels enlarged to {high} ({parts} ms); {filtered}",
        written["images"],
        verdict(3 * ms["kept"] < SECOND) if high >= SIDE else "untestable",
        "On this machine, warm, without compilation. Holds if three unfiltered images of 512 pixels take less than a second,"
        " files written. Whether the paper's second includes the images that its threshold rejected is not said.",
    )


def gap(study: Study, found: dict[str, Any]) -> Claim:
    """What super-resolution trained on real images does to generated ones."""
    keys = [key for key in found["differences"] if key.startswith("kid/")]
    keys.sort(key=lambda key: "/random" in key)
    told = []
    for key in keys:
        rows = {row: record(found["features"][row].get(key)) for row in ("real", "real_sr", "generated_sr")}
        told.append(
            f"{key}: {rows['generated_sr']} of generated images enlarged, {rows['real_sr']} of real ones reduced and enlarged,"
            f" {rows['real']} of real ones as they are"
        )
    apart = [found["differences"][key] for key in keys if found["differences"][key]["ci95"]]
    low, high = found["sizes"]
    return Claim(
        "srgan-on-cgan",
        "SRGAN, trained on reduced real images, 'enhances the resolution' of the CGAN's: 'maintaining high-quality outputs'",
        "three images; no figure of the gap between the two kinds of input",
        f"from {low} to {high} pixels, distance to {found['reference']} real images: {'; '.join(told) or 'none measured'}",
        found["n"],
        _three_ways(study, [d["ci95"][0] > 0 for d in apart], [d["value"] <= 0 for d in apart]),
        f"{why(study)}Fails if, over any of these networks, generated images after SRGAN lie farther from real ones than reduced"
        " real images after the same SRGAN, the interval of the difference above 0; holds if over all of them they lie no"
        " farther; else so few images cannot tell. The reference is what both networks were trained on.",
    )


def collapse(study: Study, summary: dict[str, Any], dropout: float) -> Claim:
    """Dropout against mode collapse. dropout: of the discriminator judged."""
    pooled = summary["diversity"].get("all") or next(iter(summary["diversity"].values()), None)
    diverse = bool(pooled) and bool(pooled["ratio"]["ci95"]) and pooled["ratio"]["ci95"][1] <= ALIKE
    shown = record(pooled["ratio"]) if pooled else "not measured"
    known = study.real and diverse and not dropout
    return Claim(
        "mode-collapse",
        "Mode collapse 'occurs when the discriminator becomes too strong'; dropout in the discriminator prevents it",
        "no measure of diversity",
        f"dropout {dropout:g} in the discriminator here; two generated images of a class are {shown} times as alike as two real"
        " ones (MS-SSIM)",
        pooled["model"]["n"] if pooled else None,
        "fails" if known else "untestable",
        f"{why(study)}Fails where a generator whose discriminator has no dropout is as diverse as real images within"
        f" {ALIKE - 1:.0%}, interval included: then dropout is not what keeps it from collapse. Otherwise one run tells no"
        " cause. An optimal discriminator starves the generator of gradients; that it stops seeing all modes is another failure.",
    )


def realistic(study: Study, summary: dict[str, Any]) -> Claim:
    """Likeness to held-out images, and the class that can be seen."""
    rows, told, near = summary["features"], [], []
    for key in keys_of(summary):
        model, floor = rows["model"][key], rows["real"].get(key) or {}
        told.append(f"{key} {record(model)} to held-out images, of as many training images {record(floor)}")
        near.append(bool(floor.get("ci95")) and model["value"] <= floor["ci95"][1])
    judged = summary["classifier"]
    seen, chance = judged["model"]["balanced_accuracy"], 1 / len(judged["classes"])
    sees = bool(seen.get("ci95")) and seen["ci95"][0] > chance
    return Claim(
        "realistic",
        "'Highly realistic', 'condition-specific' images: 'successfully generated' for three pathologies",
        "three images; no distance, no classifier, no n",
        f"{'; '.join(told) or 'no distance'}; the classifier's balanced accuracy {cell(seen)} on generated images, by the class"
        f" asked for, {cell(judged['real']['balanced_accuracy'])} on held-out real ones (chance {chance:.2f})",
        summary["n"],
        on_real(study, bool(near) and all(near) and sees),
        f"{why(study)}Holds if KID to held-out images lies within the interval of real images' own, over every network at hand,"
        " and the classifier sees the class asked for better than chance, interval above it. A classifier that fails on real"
        " images cannot show it, and brightness alone may be what it sees: the mean grey level stands beside it.",
    )


def useful(study: Study, found: dict[str, Any]) -> Claim:
    """Classifiers with and without synthetic images."""
    rows = {"real": "real images", "synthetic": "synthetic ones", "both": "both", "grey": "the mean grey level alone"}
    told = ", ".join(f"{name} {cell(found['rows'][row]['auc'])}" for row, name in rows.items())
    test = found["tests"]["both"]["delong"].get(found["classes"][-1])
    gain = test and test.get("ci95")
    change = f"{test['difference']:+.3f} [{gain[0]:+.3f}, {gain[1]:+.3f}]" if gain else "not measured"
    return Claim(
        "useful",
        "'Diverse, labeled datasets' that are 'instrumental in training and validating diagnostic algorithms'",
        "no classifier was trained",
        f"AUC on real images, trained on {told}; adding synthetic images changes that of {found['classes'][-1]} by {change}",
        found["n"],
        on_real(study, bool(gain) and gain[0] > 0),
        f"{why(study)}The same classifier for the same number of steps, tested on patients that the generator has not seen."
        " Holds if adding synthetic images raises the AUC (DeLong, interval above 0).",
    )


def privacy(study: Study, summary: dict[str, Any]) -> Claim:
    """Copies of training images."""
    told = [
        f"by {space} {each['ratio']:.2f} times as far from the nearest training image as held-out images (medians),"
        f" {each['closer']:.0%} nearer than the nearest twentieth of these"
        for space, each in summary["memorisation"].items()
    ]
    spaces = list(summary["memorisation"].values())
    far = [each["ratio"] >= 1 or each["closer"] <= NEARER for each in spaces]
    count = [each["generated"]["n"] for each in spaces]
    lowest = [proportion(round(each["closer"] * n), n)["ci95"][0] for each, n in zip(spaces, count, strict=True)]
    return Claim(
        "privacy",
        "'Since these images are entirely synthetic, they alleviate concerns regarding patient privacy and data-sharing'",
        "no search for copies",
        "; ".join(told),
        summary["n"],
        _three_ways(study, [low > NEARER and not f for low, f in zip(lowest, far, strict=True)], far),
        f"{why(study)}Holds if in every space measured generated images lie no nearer to training images than new real ones do"
        f" (ratio of medians from 1 on, or no more than {NEARER:.0%} nearer than the nearest twentieth); fails if in any more"
        " are nearer than that, interval included; else so few images cannot tell. That finds copies, which noise is not either;"
        " it is no proof of privacy.",
    )


def equalisation(study: Study, found: dict[str, Any]) -> Claim:
    """CLAHE, and what it does to the numbers."""
    plain, (name, row) = found["rows"][PLAIN], clahe_stage.lowest(found)
    cost = row["psnr"] - plain["psnr"]
    before, after = clahe_stage.AUDIT
    return Claim(
        "clahe",
        "CLAHE in preprocessing 'further enhances the quality and detail', 'aiding the models in detecting characteristics'",
        "one pair of pictures (Figure 1); clip and regions not stated",
        f"x4 bicubic at {found['size']} pixels: {plain['psnr']:.2f} dB as they are, {row['psnr']:.2f} dB under {name}"
        f" ({cost:+.2f} dB with no model)",
        plain["n"],
        "untestable" if not study.real else "void" if abs(cost) > MARGIN else verdict(cost >= 0),
        f"{why(study)}An earlier look at the paper had {before} and {after} dB. Void where equalising alone moves interpolation"
        f" by more than {MARGIN:g} dB: figures of super-resolution with and without CLAHE cannot be compared, and what is"
        " amplified is noise as much as detail. medjax equalises training images alone, and says so.",
    )
