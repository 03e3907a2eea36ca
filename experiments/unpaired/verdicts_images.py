"""Claims of paper 004 that trained networks decide: what enhancement does to a classifier, to anatomy, to findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.claims import Claim
from medjax.metrics.judgement_table import share, value
from medjax.metrics.markdown_sets import share as rate

ALPHA = 0.05
RIVALS = ("gamma", "equalise", "clahe", "cyclegan", "regression")


def improves(found: Mapping[str, Any], *, row: str, real: bool) -> Claim:
    """The classifier on low-quality images before and after. found: as `build.judgement.judge` gives it."""
    low, high = (found["rows"][found[end]]["accuracy"] for end in ("low", "high"))
    own, test, closed = found["rows"][row]["accuracy"], found["tests"][row], found["gap"][row]["accuracy"]
    p = test["mcnemar"]["p_value"]
    better = own["mean"] > low["mean"]
    word = "holds" if better and p < ALPHA else "fails" if not better or p > 0.5 else "untestable"
    why = f" ({closed['why']})" if closed["why"] else ""
    return Claim(
        "improves",
        "LED raises the accuracy of a classifier on images of low quality",
        "56.6% to 66.3%, high quality 73.9%",
        f"low {value(low)}, enhanced {value(own)}, high {value(high)}; McNemar p = {p:.2g}; of the gap closed: {share(closed)}"
        f"{why}; most frequent class {found['rows'][row]['majority']:.3f}",
        found["rows"][row]["n"],
        word if real else "untestable",
        f"{'' if real else 'Phantoms alone. '}One patient-disjoint split; the same images before and after. Holds if more are"
        f" right and McNemar's exact p is below {ALPHA:g}; fails if no more are, or p is above 0.5; between, the images are"
        " too few.",
    )


def preserved(
    found: Mapping[str, Any], *, row: str, anatomy: Mapping[str, Mapping[str, Any]], findings: Mapping[str, Any] | None
) -> Claim:
    """Whether a higher accuracy shows that features are preserved. anatomy: {row: `anatomy.summarise`}, of the truth too where it
    is known, whose lungs are found by the same rule; findings: `tally`.
    """
    rivals = {name: found["rows"][name]["accuracy"] for name in RIVALS if name in found["rows"]}
    told = ", ".join(f"{name} {value(cell)}" for name, cell in rivals.items()) or "none"
    own = found["rows"][row]["accuracy"]
    counted = ""
    if findings:
        kept, invented = findings[row]["kept"], findings[row]["invented"]
        counted = f"; of known findings kept {rate(kept)}" + (f", invented {rate(invented)}" if invented else "")
    own_anatomy, still = anatomy[row], anatomy.get("truth")
    beside = f" (of the truth itself by the same rule {value(still['dice'])})" if still else ""
    moved = f"lung fields' Dice {value(own_anatomy['dice'])}{beside}, anatomy score {value(own_anatomy['score'])}"
    return Claim(
        "preserved",
        "The improved accuracy 'implies that the key features necessary for accurate classification are preserved'",
        "structural consistency 'has not been analysed'",
        f"enhanced {value(own)}; by maps of grey levels and rivals that add no finding: {told}; {moved}{counted}",
        found["rows"][row]["n"],
        "void",
        "Void by logic: an enhancer moves images towards the domain that the classifier was trained on, which raises its accuracy"
        " whether or not a finding survives, as a change of brightness can. What is preserved is measured beside it.",
    )


def hallucination(anatomy: Mapping[str, Mapping[str, Any]], *, row: str, backwards: str, real: bool = True) -> Claim:
    """Body shapes that move: 'potentially negligible' in the enhancement. anatomy: {row: `anatomy.summarise`}; real: whether the
    images are of people.
    """
    forth, back = anatomy[row], anatomy[backwards]
    low, high = forth["dice"]["ci95"] or [None, None], back["dice"]["ci95"] or [None, None]
    known = real and None not in (low[0], high[0])
    word = "holds" if known and low[0] > high[1] else "fails" if known and low[1] < high[0] else "untestable"
    lost = forth["without_lungs"]["output"]
    return Claim(
        "hallucination",
        "Morphing of the body in the degradation is 'only partially observable (and potentially negligible)' in enhancement",
        "one figure; no measure",
        f"lung fields' Dice, input with output: enhancement {value(forth['dice'])}, degradation {value(back['dice'])}; lungs lost"
        f" in {lost} of {forth['n']}; shift {value(forth['shift_share'])} of the width",
        forth["n"],
        word,
        f"{'' if real else 'Phantoms alone. '}Fields by one simple rule, which is a ruler and no segmentation. Holds if"
        " enhancement moves them less than degradation, fails if more, intervals apart; else so few images cannot tell. Whether"
        " what is left is negligible, only readers can say.",
    )


def condition(rows: Mapping[str, Mapping[str, Any]], of: str = "test images, against the known truth") -> Claim:
    """What conditions the model at inference. rows: {"x" | "f(x)": {metric: {"mean", "ci95", "n"}}}, and "difference" of them;
    of: which images, against what.
    """
    gained = rows["difference"]
    ends = gained["ci95"]
    word = "untestable" if ends is None or ends[0] <= 0 <= ends[1] else "holds" if ends[0] > 0 else "fails"
    return Claim(
        "condition",
        "The model that learns from degraded images as condition refines an image that was enhanced already",
        "trained on x-hat = d(y), asked at inference for f(x)",
        f"PSNR conditioned on x {value(rows['x']['psnr'])}, on f(x) {value(rows['f(x)']['psnr'])}; f(x) minus"
        f" x, paired, {value(gained)} dB",
        gained["n"],
        word,
        f"On {of}. Holds if the condition on f(x), which training has not seen, is better than that on x,"
        " interval above 0; fails if it is worse.",
    )
