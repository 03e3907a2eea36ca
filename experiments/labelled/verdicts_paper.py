"""Claims that counting, arithmetic and reading decide: labels, training time, memory, the figure, the citations."""

from __future__ import annotations

from typing import Any

from experiments.claims import Claim, verdict
from experiments.labelled import counts, training_cost
from medjax.metrics.discrimination import most_passing

THRESHOLD = 0.9
PIXELS = 128  # of the published generator


def _basis(found: dict[str, Any]) -> str:
    """Whose counts they are."""
    if found["whole"]:
        return f"Counted in the table at hand, {found['images']:,} images. "
    return (
        f"All of ChestX-ray14, {counts.WHOLE:,} images, is not at hand: its counts are those of Data_Entry_2017_v2020.csv, by an"
        " earlier look. "
    )


def _here(found: dict[str, Any], name: str) -> str:
    """What the table at hand has of a class."""
    each = found["classes"][name]
    often = "" if each["repeat_any"] is None else f", x{each['repeat_any']:.4g} to make {counts.WANTED:,}"
    told = f"at hand ({found['source']}, {found['images']:,} images)"
    return f"{told}: {each['any']:,} ({each['single']:,} with no other label){often}"


def pneumonia(found: dict[str, Any]) -> Claim:
    """More images than there are."""
    known = counts.known(found, "Pneumonia")
    return Claim(
        "pneumonia-images",
        "5,000 images diagnosed Pneumonia are used, of ChestX-ray8",
        f"{counts.WANTED:,}",
        f"ChestX-ray14 has {known['any']:,} with the label and {known['single']:,} with no other: each would come"
        f" {known['repeat_any']:.2f} or {known['repeat_single']:.1f} times; {_here(found, 'Pneumonia')}",
        known["any"],
        verdict(known["any"] >= counts.WANTED),
        f"{_basis(found)}Holds if so many images have the label, others beside it or not. medjax refuses a class with too few"
        " images, and prints how often balancing repeats each.",
    )


def mass(found: dict[str, Any]) -> Claim:
    """Enough, if other labels beside it do not matter."""
    known, both = counts.known(found, "Mass"), counts.overlap(found)
    return Claim(
        "mass-images",
        "5,000 images diagnosed Mass are used",
        f"{counts.WANTED:,}",
        f"ChestX-ray14 has {known['any']:,} with the label, {known['single']:,} with no other; {both} show Mass and Pneumonia;"
        f" {_here(found, 'Mass')}",
        known["any"],
        verdict(known["any"] >= counts.WANTED),
        f"{_basis(found)}Holds if so many images have the label. They have other labels beside it then, so the classes overlap,"
        " which the paper does not say.",
    )


def no_finding(found: dict[str, Any]) -> Claim:
    """Enough."""
    known = counts.known(found, "No Finding")
    return Claim(
        "no-finding-images",
        "5,000 images diagnosed No Findings are used",
        f"{counts.WANTED:,}",
        f"ChestX-ray14 has {known['any']:,}; {_here(found, 'No Finding')}",
        known["any"],
        verdict(known["any"] >= counts.WANTED),
        f"{_basis(found)}Holds if so many images have the label.",
    )


def data_set(found: dict[str, Any]) -> Claim:
    """What the data set is, and where its labels come from."""
    share = found["several"] / found["images"]
    return Claim(
        "data-set",
        "ChestX-ray8, each image 'labeled for one of 14 pathologies', 'diagnosed using Computer Aided Detection', over 90% right",
        "one label of 14; computer-aided detection",
        f"at hand: {found['several']:,} of {found['images']:,} images have two labels or more ({share:.0%}); {found['labels']}"
        " labels beside No Finding",
        found["images"],
        "fails",
        "Read: 14 labels are those of ChestX-ray14 (ChestX-ray8 has eight), an image has any number of them, and they were mined"
        " from the text of radiologists' reports, not detected in images. The 90% are of that text mining. Counted: the table at"
        " hand.",
    )


def training_time(found: dict[str, Any]) -> Claim:
    """Whether twelve hours on the card were enough, by the width of the networks."""
    rows = found["widths"]
    told = "; ".join(
        f"width {width}: {row['gflop']:.2f} GFLOP an image, {row['tflops']:.2f} TFLOP/s, {row['share']:.0%} of the peak"
        for width, row in rows.items()
    )
    fits = [row["share"] <= training_cost.FEASIBLE for row in rows.values()]
    return Claim(
        "training-time",
        "About 500 epochs of 15,000 images in about 12 hours on a GTX 1050 Ti",
        f"{found['rate']:.0f} images a second; no width of the networks",
        f"at {found['pixels']} pixels, {told}",
        None,
        "untestable" if found["pixels"] != PIXELS or (any(fits) and not all(fits)) else verdict(all(fits)),
        f"Arithmetic: XLA's count of the operations of one training step, times {training_cost.EPOCHS} x"
        f" {training_cost.IMAGES:,} images in {training_cost.HOURS} hours, against the card's {found['peak'] / 1e12:.2f} TFLOP/s"
        " in float32. Holds if every width takes no more than half of that, fails if none does; else it hangs on the width,"
        " which the paper does not state. The width is the number of features at half the size.",
    )


def memory(found: dict[str, Any]) -> Claim:
    """The title's claim."""
    missing = sum("bytes" not in row for row in found["rows"])
    left = f" {missing} of {len(found['rows'])} compilations were left out or failed." if missing else ""
    return Claim(
        "memory",
        "Two stages train 'without concern for memory limitations' ('memory-efficient', on a card of 4 GB)",
        "no figure",
        found["how"],
        None,
        found["verdict"] if found["scale"] == "paper" else "untestable",
        "XLA's memory analysis of the compiled training steps at batch 1, 4 and 16 (weights, optimiser, batch, temporaries),"
        f" compiled for {found['versions']['device']}; a card's own context comes on top. Holds if both stages fit into 4 GiB at"
        f" every batch as published; what rematerialisation and micro-batches save stands beside.{left}",
    )


def figure_three(found: dict[str, Any]) -> Claim:
    """Which row is which."""
    passed = found["passed"]["all"]
    return Claim(
        "figure-3",
        "Figure 3: 'real images for each pathology were placed below the generated'; its caption: 'real X-rays (top) with"
        " synthetic X-rays (bottom)'",
        "three generated and three real images; which are which is told both ways",
        f"the figure is drawn again from all images in order, each row named; of {passed['n']} generated images"
        f" {passed['rate']:.1%} reach {THRESHOLD:g}",
        None,
        "fails",
        "Read: text and caption contradict each other, so the figure cannot be used as evidence of either. Three images chosen"
        " by a threshold say nothing of the others.",
    )


def citations() -> Claim:
    """Two citations that do not fit."""
    return Claim(
        "citations",
        "Bluethgen et al. (2024) use 'a diffusion model with adaptive noise sampling'; 'Skandarani et al. (2020)'",
        "as quoted",
        "RoentGen (Bluethgen et al.) is Stable Diffusion conditioned on text; the reference list has Skandarani et al. as 2021",
        None,
        "fails",
        "Read: the works cited.",
    )


def bound() -> float:
    """The share of generated images that an optimal discriminator can let pass at the paper's threshold."""
    return most_passing(THRESHOLD)
