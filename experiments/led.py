"""What an enhancement learnt without pairs is worth, judged by a classifier and by the truth: the study of paper 004.

    python -m experiments.led --scale=small --workdir=runs/led

Trains a CycleGAN between images of low and of high quality; makes pairs by its degradation; on these pairs a conditional
diffusion model, which refines what the CycleGAN enhanced (LED), and a direct regression; the same diffusion on pairs by physics;
and a classifier, the judge. Enhances the images of patients that no stage has seen in every way, classical ones
too, and asks of each row: what the classifier says, beside the most frequent class and the mean grey level; how near the truth
it is, where that is known; what of the anatomy moved; which findings of phantoms were kept, lost and invented. Tries start,
condition, sampler and steps of the diffusion; measures how alike the pools are; judges every claim of the paper afresh. Ends
with `report.html` and `claims.json` in the workdir. Interrupted, the same command resumes; what is finished is read back, and
so is a finished run of `medjax train` in `runs/phantom/cyclegan`, `runs/phantom/diffusion`, ...

| scale | what | cost |
|---|---|---|
| tiny | phantoms alone, 32 pixels, two steps: for tests | two minutes, most of them compiling |
| small | 1,600 phantoms, and 240 NIH images of which half have a low simulated dose, 64 pixels | 90 minutes on 2 CPU cores |
| paper | PadChest by exposure at 256 pixels, 1,000 and 1,000 to train on as published, and small's phantoms | days on a GPU |

Of the time CycleGANs take a third, diffusion models another, and drawing, enhancing and scoring a fifth. The classifier tells
Mass from No Finding: a low dose hides that, where COPD alters the whole thorax. Images: `cxr_nih` (paper: `padchest`) below
--data_root or $MEDJAX_DATA, which must be there; --low=actualmed takes that set as it comes for the pool of low quality.
Simulated ones only with --data_source=phantoms, which is what tiny uses unless told otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments import common

NAME = "led"


def parser() -> argparse.ArgumentParser:
    """The study's flags."""
    made = common.parser(NAME, __doc__, seeds=False)
    common.add_data(made, "cxr_nih, or padchest")
    made.add_argument("--low", choices=("nih_cxr14", "actualmed"), default="nih_cxr14",
                      help="low-quality images of people: NIH's at a low simulated dose, or another set as it comes")  # fmt: skip
    made.add_argument("--seed", type=int, default=0, help="of every training; patients are dealt the same way")
    return made


def conduct(args: argparse.Namespace) -> Path:
    """All stages in turn; returns the path of the report."""
    from experiments import claims
    from experiments.unpaired import page, stages
    from experiments.unpaired.runs import Study, open_all, train_all
    from experiments.unpaired.verdicts import all_claims

    asked = {"progress": not args.quiet, "low": args.low, "seed": args.seed}
    study = Study(args.workdir, args.scale, common.source_of(args), args.data_root, **asked)
    if not study.real:
        print("Simulated images alone: nothing below is about people.")
    data = open_all(study)
    train_all(study, data)
    seen = stages.enhance(study, data)
    found = stages.measure(study, data, seen)
    print("The paper's claims ...")
    rows = claims.write(all_claims(study, found), study.place / "claims.json")
    return page.build(study, data, seen, found, rows)


def main(argv: list[str] | None = None) -> int:
    """Run the study; returns the exit status."""
    args = parser().parse_args(argv)
    return common.conclude(NAME, lambda: conduct(args))


if __name__ == "__main__":
    sys.exit(main())
