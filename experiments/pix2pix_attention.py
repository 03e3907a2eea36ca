"""Does self-attention help pix2pix enhance chest X-rays? The study of paper 000, remade at equal epochs.

    python -m experiments.pix2pix_attention --scale=small --workdir=runs/attention

Trains, on the same images for the same number of epochs: the U-Net with L1 alone, pix2pix, and pix2pix with attention
at several places; scores them on held-out patients beside the degraded input and tuned classical denoisers, and on
X-rays of another hospital; measures what each placement costs; judges every claim of the paper afresh. Ends with
`report.html` and `claims.json` in the workdir. Interrupted, the same command resumes; what is finished is read back.

| scale | what | cost |
|---|---|---|
| tiny | phantoms of 32 pixels, a few steps: for tests | under a minute |
| small | 240 NIH images at 128 pixels, U-Net of 16 features, 60 epochs, six runs | about 40 minutes on 2 CPU cores |
| paper | 4,999 NIH images at 256, the published networks, 150 epochs, six runs | hours on a data-centre GPU |

Images: NIH ChestX-ray14 below $MEDJAX_DATA or --data_root; simulated ones only with --data_source=phantom_cxr, which is
what tiny uses unless told otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments import common

NAME = "pix2pix_attention"


def parser() -> argparse.ArgumentParser:
    """The study's flags."""
    made = common.parser(NAME, __doc__)
    made.add_argument(
        "--data_source", choices=("nih_cxr14", "phantom_cxr"), help="default: nih_cxr14; tiny: phantom_cxr"
    )
    made.add_argument("--data_root", default="", help="the folder of the NIH images (default: $MEDJAX_DATA/cxr_nih)")
    return made


def conduct(args: argparse.Namespace) -> Path:
    """All stages in turn; returns the path of the report."""
    from experiments import claims
    from experiments.attention import audit, costs, elsewhere, page, scores
    from experiments.attention.runs import Study, train_all
    from experiments.attention.verdicts import all_claims

    source = args.data_source or ("phantom_cxr" if args.scale == "tiny" else "nih_cxr14")
    study = Study(args.workdir, args.scale, source, args.data_root, args.seeds, not args.quiet)
    data = train_all(study)
    print("Scoring the runs on images they have not seen ...")
    results = scores.gather(study, data)
    print("Another hospital ...")
    other = elsewhere.gather(study, results)
    print("What each placement costs ...")
    cost = costs.measure(study, data)
    print("What distances over features can tell ...")
    sensed = common.kept(study.workdir / "sensitivity.json", lambda: elsewhere.sensed(study, data))
    print("The paper's claims ...")
    inputs = audit.measure(study, data)
    rows = claims.write(all_claims(study, data, results, cost, inputs), study.workdir / "claims.json")
    return page.build(study, data, results, other, cost, inputs, sensed, rows)


def main(argv: list[str] | None = None) -> int:
    """Run the study; returns the exit status."""
    args = parser().parse_args(argv)
    return common.conclude(NAME, lambda: conduct(args))


if __name__ == "__main__":
    sys.exit(main())
