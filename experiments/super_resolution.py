"""What ESRGAN adds to interpolation on X-rays, CT and MR: the study of paper 003.

    python -m experiments.super_resolution --scale=small --workdir=runs/superres

Trains, for each modality, the L1 phase and the GAN phase that begins from it, on X-rays also at x2 with a light generator;
scores them on held-out patients beside nearest, bilinear, bicubic and Lanczos, and interpolated with each other; tries each
on the other modalities; measures what filtering and equalising targets, another bicubic and another scale do to interpolation
alone; times frames; trains on one image without a set; judges every claim of the paper afresh. Ends with `report.html`,
`claims.json` and `images.csv` in the workdir. Interrupted, the same command resumes; what is finished is read back.

| scale | what | cost |
|---|---|---|
| tiny | phantoms alone, 64 pixels, two steps: for tests | under a minute |
| small | 240 NIH X-rays and CT slices at 512 pixels, T1 slices at 192; eight runs | about an hour on 2 CPU cores |
| paper | the published network at 256 pixels, 100 epochs of each; needs VGG19's weights | hours on a data-centre GPU for NIH |

Images: cxr_nih, ct and mri_t1_t2 below --data_root or $MEDJAX_DATA; X-rays must be there, the others may be absent. Simulated
ones only with --data_source=phantoms, which is what tiny uses unless told otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments import common

NAME = "super_resolution"


def parser() -> argparse.ArgumentParser:
    """The study's flags."""
    made = common.parser(NAME, __doc__)
    common.add_data(made, "cxr_nih, ct and mri_t1_t2")
    return made


def conduct(args: argparse.Namespace) -> Path:
    """All stages in turn; returns the path of the report."""
    from experiments import claims
    from experiments.superres import across, alone, draws, mixing, page, scores, speed, targets
    from experiments.superres.runs import Study, train_all
    from experiments.superres.verdicts import Found, all_claims

    study = Study(args.workdir, args.scale, common.source_of(args), args.data_root, args.seeds, not args.quiet)
    if not study.real:
        print("Simulated images alone: nothing below is about people.")
    opened = train_all(study)
    print("Scoring the runs on patients they have not seen ...")
    results = scores.gather(study, opened)
    print("Between L1 and GAN ...")
    mixing.measure(study, opened, results)
    scores.write_images(results, opened, study.workdir / "images.csv")
    print("Another modality ...")
    other = across.measure(study, opened, results)
    print("What interpolation alone scores ...")
    alike = common.kept(study.workdir / "targets.json", lambda: targets.measure(study, opened))
    print("Milliseconds a frame ...")
    timed = common.kept(study.workdir / "speed.json", lambda: speed.measure(study, opened))
    print("One image without a set ...")
    single = common.kept(study.workdir / "alone.json", lambda: alone.measure(study, opened))
    drawn = common.kept(study.workdir / "draws.json", lambda: draws.measure(study, opened, "cxr_gan"))
    print("The paper's claims ...")
    found = Found(alike, other, timed, single, drawn)
    rows = claims.write(all_claims(study, opened, results, found), study.workdir / "claims.json")
    return page.build(study, opened, results, found, rows)


def main(argv: list[str] | None = None) -> int:
    """Run the study; returns the exit status."""
    args = parser().parse_args(argv)
    return common.conclude(NAME, lambda: conduct(args))


if __name__ == "__main__":
    sys.exit(main())
