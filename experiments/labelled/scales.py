"""The sizes of the study at each scale."""

from __future__ import annotations

from typing import NamedTuple

Variant = tuple[str, tuple[str, ...]]  # config and overrides


class Scale(NamedTuple):
    """The sizes of a study.

    gans, classifiers: by set of images, the config of its generator and of its judge. first, second: of super-resolution by a
    pixel loss and of its GAN phase; how much they enlarge follows from the generator's size. steps: of runs that are not
    trained as long as their configs say; of super-resolution 0 is its config's. checks: validations of super-resolution.
    enlarged: simulated X-rays at the large size. tried: images of each label that the threshold is put to; wanted: images of
    each label that are to pass it. synthetic: labelled images of each class that are written. gap: held-out images behind the
    domain gap, and most: training images that they are compared with. utility: steps of each classifier that is trained on real
    images, on synthetic ones or on both, by set. memory: of `benchmarks.memory`, which networks at which batches, in which
    forms, and the seconds spent on it at most. audited: images under CLAHE, at audit_size. flops: the config whose training is
    counted, by the features that its networks have at half the size, which is what the width of such a pair is called.
    """

    gans: dict[str, Variant]
    classifiers: dict[str, Variant]
    first: Variant
    second: Variant
    steps: dict[str, int]
    checks: int
    enlarged: int
    tried: int
    wanted: int
    synthetic: dict[str, int]
    gap: int
    most: int
    utility: dict[str, int]
    memory: str
    batches: tuple[int, ...]
    forms: tuple[str, ...]
    memory_seconds: float
    audited: int
    audit_size: int
    flops: dict[int, Variant]


_NIH = ("data.source=nih_cxr14", "data.label_mode=any", "data.classes=('No Finding','Pneumonia')",
        "data.nih_cxr14.labels=('No Finding','Pneumonia')")  # fmt: skip
_LARGE = ("data.image_size=64", "data.load_size=64", "data.crop_size=32", "data.threads=0", "data.verify=False")
_NO_SHEETS = "train.sample_every=0"
_NARROW = ("generator.features=16", "generator.most_features=256", "discriminator.features=32", "discriminator.most_features=256")
FORMS = ("plain", "remat", "micro", "remat, micro")
SCALES: dict[str, Scale] = {
    "tiny": Scale(
        gans={"phantom": ("cgan_cxr:tiny", ("data.phantom_cxr.count=48", "train.steps=2", "method.r1=0.1", _NO_SHEETS)),
              "nih": ("cgan_cxr:tiny", _NIH)},
        classifiers={"phantom": ("classifier_cxr:tiny", ("data.phantom_cxr.count=48", "train.steps=2", _NO_SHEETS)),
                     "nih": ("classifier_cxr:tiny", _NIH)},
        first=("srgan_cxr:srresnet_tiny", _LARGE), second=("srgan_cxr:tiny", _LARGE), steps={"srresnet": 2, "srgan": 2}, checks=1,
        enlarged=48, tried=16, wanted=2, synthetic={"phantom": 8, "nih": 8}, gap=12, most=12, utility={"phantom": 2, "nih": 2},
        memory="tiny", batches=(1,), forms=("plain",), memory_seconds=0.5, audited=4, audit_size=64,
        flops={4: ("cgan_cxr:tiny", ("generator.features=2",))},
    ),
    # Seconds a step on 2 CPU cores: CGAN 0.22, classifier 0.12 on phantoms and 0.5 on NIH images, SRResNet 0.1, SRGAN 0.3.
    "small": Scale(
        gans={"phantom": ("cgan_cxr:small", ()), "guided": ("cgan_cxr:small_guided", ()), "nih": ("cgan_cxr:small_nih", ())},
        classifiers={"phantom": ("classifier_cxr:small", ()), "nih": ("classifier_cxr:small_nih", ())},
        first=("srgan_cxr:srresnet_small", ("data.crop_size=192",)), second=("srgan_cxr:small", ("data.crop_size=128",)),
        steps={"cgan_nih": 4000, "guide_phantom": 1500, "classifier_phantom": 4000, "classifier_nih": 600, "srresnet": 1000,
               "srgan": 300},
        checks=4, enlarged=240, tried=160, wanted=16, synthetic={"phantom": 400, "nih": 96}, gap=48, most=192,
        utility={"phantom": 1000, "nih": 200}, memory="paper", batches=(1, 4, 16), forms=FORMS, memory_seconds=420.0, audited=60,
        audit_size=256, flops={32: ("cgan_cxr:paper", _NARROW), 64: ("cgan_cxr:paper", ())},
    ),
    "paper": Scale(
        gans={"phantom": ("cgan_cxr:small", ()), "guided": ("cgan_cxr:small_guided", ()), "nih": ("cgan_cxr:paper", ())},
        classifiers={"phantom": ("classifier_cxr:small", ()), "nih": ("classifier_cxr:paper", ())},
        first=("srgan_cxr:srresnet", ()), second=("srgan_cxr:paper", ()), steps={"srresnet": 0, "srgan": 0}, checks=20,
        enlarged=4000, tried=2000, wanted=200, synthetic={"phantom": 800, "nih": 5000}, gap=1000, most=5000,
        utility={"phantom": 3000, "nih": 10_000}, memory="paper", batches=(1, 4, 16), forms=FORMS, memory_seconds=7200.0,
        audited=400, audit_size=256, flops={32: ("cgan_cxr:paper", _NARROW), 64: ("cgan_cxr:paper", ())},
    ),
}  # fmt: skip
