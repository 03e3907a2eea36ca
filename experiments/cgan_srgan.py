"""What labelled chest X-rays from noise are worth, and what enlarging them adds: the study of paper 001.

    python -m experiments.cgan_srgan --scale=small --workdir=runs/labelled

Counts the labels; trains a conditional GAN on phantoms, whose findings are known, guides it by a classifier in a second phase,
trains one on NIH images, and for each a classifier that judges it; measures distances to held-out images, diversity, copies, and
whether the class asked for can be seen; puts the paper's threshold of 0.9 to it; enlarges real and generated images by SRGAN and
measures the gap between them; trains classifiers on real images, on synthetic ones and on both; measures memory, counts
operations, and what CLAHE does to a PSNR; judges every claim of the paper afresh.
Ends with `report.html` and `claims.json` in the workdir. Interrupted, the
same command resumes; what is finished is read back, and so is a finished run of `medjax train` in `runs/cgan_nih/seed_0`,
`runs/cgan_phantom/seed_0` or `runs/classifier_nih`, ...

| scale | what | cost |
|---|---|---|
| tiny | phantoms alone, 32 pixels, two steps: for tests | under a minute |
| small | 3,000 phantoms and 240 NIH images, 64 pixels enlarged to 512 | 90 minutes on 2 CPU cores |
| paper | three classes of NIH at 128 pixels enlarged to 512, as published; needs VGG19's weights | days on a GPU |

Of the 90 minutes the generators take 50, the classifiers 18, super-resolution 4, judging and utility 7, memory at most 7.
`--seeds` repeats the generators alone. Images: cxr_nih below --data_root or $MEDJAX_DATA, which must be there. Simulated ones
only with --data_source=phantoms, which is what tiny uses unless told otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments import common

NAME = "cgan_srgan"


def parser() -> argparse.ArgumentParser:
    """The study's flags."""
    made = common.parser(NAME, __doc__)
    common.add_data(made, "cxr_nih")
    return made


def conduct(args: argparse.Namespace) -> Path:
    """All stages in turn; returns the path of the report."""
    from experiments import claims
    from experiments.labelled import clahe, counts, domain, judged, memory, page, threshold, training_cost, utility
    from experiments.labelled.runs import Study, open_all, train_all
    from experiments.labelled.verdicts import Found, all_claims

    study = Study(args.workdir, args.scale, common.source_of(args), args.data_root, args.seeds, not args.quiet)
    if not study.real:
        print("Simulated images alone: nothing below is about people.")
    data = open_all(study)
    counted = common.kept(study.place / "labels.json", lambda: counts.measure(study))
    print("\n".join(counts.told(counted)))
    train_all(study, data)
    print("Generators and classifiers on images they have not seen ...")
    results = judged.gather(study)
    print("The threshold of 0.9 ...")
    passed = threshold.gather(study)
    print("Labelled images, enlarged ...")
    written = threshold.write_images(study)
    print("Super-resolution of real images, and of generated ones ...")
    enlarged = domain.score(study, data["large"])
    gap = common.kept(study.place / "gap.json", lambda: domain.measure(study, data["large"]))
    print("Classifiers trained on real images, on synthetic ones and on both ...")
    useful = {study.main: utility.measure(study, study.main)}
    print("Memory of a training step ...")
    held = common.kept(study.place / "memory.json", lambda: memory.measure(study))
    print("Operations, and CLAHE ...")
    cost = common.kept(study.place / "training_cost.json", lambda: training_cost.measure(study))
    equalised = common.kept(study.place / "clahe.json", lambda: clahe.measure(study, data["large"]))
    print("The paper's claims ...")
    found = Found(counted, passed, written, enlarged, gap, useful, held, cost, equalised)
    rows = claims.write(all_claims(study, results, found), study.place / "claims.json")
    return page.build(study, data, results, found, rows)


def main(argv: list[str] | None = None) -> int:
    """Run the study; returns the exit status."""
    args = parser().parse_args(argv)
    return common.conclude(NAME, lambda: conduct(args))


if __name__ == "__main__":
    sys.exit(main())
