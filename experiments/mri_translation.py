"""T1 to T2 brain MRI by pix2pix, with pairs that belong together: the study of paper 002.

    python -m experiments.mri_translation --scale=small --workdir=runs/translation

Trains the paper's system (shown at 1x, 6x and 10x of its schedule), a residual network on neighbouring slices with and
without an adversary, the same on simulated heads with lesions, and the warm-up on digits; scores them on subjects they
have not seen beside the T1 itself and maps of its intensity, on slices that were trained on, and on another population;
measures what misaligned pairs cost a perfect predictor; judges every claim of the paper afresh. Ends with `report.html`
and `claims.json` in the workdir. Interrupted, the same command resumes; what is finished is read back.

| scale | what | cost |
|---|---|---|
| tiny | simulated heads alone, 32 pixels, a few steps: for tests | under a minute |
| small | the infants of `mri_t1_t2` (9 / 1 / 3, adults apart) at 128 pixels, 6,000 steps | about 50 minutes on 2 CPU cores |
| paper | IXI at 256 pixels, registered, 49,200 steps as published | hours on a data-centre GPU |

Volumes: pairs below --data_root or $MEDJAX_DATA/mri_t1_t2; simulated heads only with --data_source=phantom_mri, which is
what tiny uses unless told otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments import common

NAME = "mri_translation"


def parser() -> argparse.ArgumentParser:
    """The study's flags."""
    made = common.parser(NAME, __doc__)
    made.add_argument("--data_source", choices=("mri_pairs", "phantom_mri"), help="default: mri_pairs; tiny: phantom_mri")
    made.add_argument("--data_root", default="", help="the folder of the pairs (default: $MEDJAX_DATA/mri_t1_t2)")
    made.add_argument(
        "--subjects", default="", help="regular expression of the names trained on, the others are scored apart; small: ^JLF"
    )
    return made


def conduct(args: argparse.Namespace) -> Path:
    """All stages in turn; returns the path of the report."""
    from experiments import claims
    from experiments.translation import lesions, misalignment, page, scores, spread, volume
    from experiments.translation.runs import Study, train_all
    from experiments.translation.verdicts import all_claims

    source = args.data_source or ("phantom_mri" if args.scale == "tiny" else "mri_pairs")
    study = Study(args.workdir, args.scale, source, args.data_root, args.seeds, not args.quiet, args.subjects)
    if not study.real:
        print("Simulated heads alone: nothing below is about people.")
    data = train_all(study)
    print("Scoring the runs on subjects they have not seen ...")
    results = scores.gather(study, data)
    print("From slice to slice, and from draw to draw ...")
    results.changes = common.kept(study.workdir / "consistency.json", lambda: spread.consistency(study, data["main"], results))
    results.draws = common.kept(study.workdir / "dropout.json", lambda: spread.dropout(study, data["published"]))
    print("What misalignment costs ...")
    found = common.kept(study.workdir / "misalignment.json", lambda: misalignment.measure(study))
    print("Lesions of simulated heads, kept or lost ...")
    kept = common.kept(study.workdir / "lesions.json", lambda: lesions.count(study, data[study.on_phantoms], results))
    print("A whole volume ...")
    made = common.kept(study.workdir / "volume.json", lambda: volume.translate(study, data["main"], results))
    print("The paper's claims ...")
    rows = claims.write(all_claims(study, data, results, found), study.workdir / "claims.json")
    return page.build(study, data, results, found, kept, made, rows)


def main(argv: list[str] | None = None) -> int:
    """Run the study; returns the exit status."""
    args = parser().parse_args(argv)
    return common.conclude(NAME, lambda: conduct(args))


if __name__ == "__main__":
    sys.exit(main())
