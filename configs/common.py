"""What the configs share: every field with its default and its meaning. Configs change values and add no reader."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.sources import source_options


def data() -> dict:
    """Chest X-rays degraded as paper 000 does: noise sigma 15, 3x3 blur, JPEG 50, at the size trained on."""
    return {
        "source": "nih_cxr14",  # any of configs/sources.py
        "root": "",  # "": $MEDJAX_DATA/<the source's folder>
        **source_options(),
        "limit": 0,  # images used at most, drawn by the seed; 0: all
        "official_split": False,  # the data set's own train_val_list.txt and test_list.txt
        "split": (0.8, 0.1, 0.1),  # train, validation, test: shares of the patients, or numbers of patients (9, 1, 3)
        "folds": 0,  # from 3 on, patients are dealt into so many folds: `fold` is tested, the next validated on
        "fold": 0,
        "split_file": "",  # the patients of each split, one file for all stages of a study: see medjax split
        "split_seed": 0,
        "image_size": 256,  # side of the images scored
        "load_size": 286,  # training images are resized to this before the crop; 0: native resolution
        "crop_size": 256,  # side of the training crop
        "crop_align": 1,  # corners of crops are multiples of this
        "scale": 1,  # from 2 on, super-resolution: inputs have so many times fewer pixels along a side; steps hold downsample
        "flip": True,  # mirror half of the training images
        "rotate": 0.0,  # training images turn by up to so many degrees, either way
        "zoom": 0.0,  # and grow or shrink by up to this share
        "elastic": {"alpha": 0.0, "sigma": 16.0},  # pixels: displacement (root mean square) and how far it is smooth
        "prefilter": "",  # of inputs, in training and testing: median (3x3) or gaussian (sigma 1); targets are never filtered
        "match": (),  # training images of two pools are dropped until both have the same: grey, body
        "balance": "none",  # oversample: classes (without labels: modalities) come equally often, by repetition
        "self_supervised": False,  # trained, validated and tested on the same images: for one image without a set
        "batch_size": 1,
        "threads": 2,  # reading threads
        # decoded training images in memory: auto, as many as 1 GiB holds; none; host, all of them; device, all of them on the
        # accelerator, which then crops, flips and degrades itself. The first three give the same batches to the bit
        "cache": "auto",
        "labels": "none",  # or single: one class for each image; multi: any number of them
        "classes": (),  # the labels learnt from, in this order
        "label_mode": "single",  # images whose only label is a class; or any: beside other labels
        "columns": (),  # what else is known of each image and learnt from: age, sex, view
        "min_per_class": 2,  # training images that each class needs
        "clahe": {"clip": 0.0, "tiles": 8},  # equalisation of training images alone; clip 0: none
        "verify": True,  # decode every file before the first step, so that a bad one is named then
        "degradation": {
            "steps": ("gaussian_noise", "binomial_blur", "jpeg"),  # in this order; (): none, for pairs
            "size": 0,  # the side at which it applies; 0: what the model sees, after resizing and cropping
            "gaussian_noise": {"sigma": 15.0},  # of 255
            "poisson_noise": {"dose": 200.0},
            "low_dose": {"photons": 500.0, "latitude": 3.0},
            "gaussian_blur": {"sigma": 1.0},
            "box_blur": {"size": 3},
            "motion_blur": {"length": 9.0},
            "jpeg": {"quality": 50},
            "contrast": {"gain": 0.6},
            "down_up": {"factor": 2.0},
            "downsample": {"resampler": "bicubic"},  # by data.scale, antialiased; or nearest, box, bilinear, lanczos
        },
    }


def unet() -> dict:
    """The published U-Net generator."""
    return {
        "name": "unet",
        "features": 64,
        "norm": "batch",
        "predict_norm": "batch",  # pix2pix's own: statistics of the one image; or "running"
        "dropout": 0.5,
        "attention_at": (),  # e.g. ("encoder:32", "decoder:32")
        "attention_kind": "self",  # self, channel, spatial, transformer
    }


def restorer() -> dict:
    """The small residual restorer."""
    return {"name": "restorer", "features": (32, 64, 96), "blocks": (2, 2, 2), "unshuffle": 2}


def native(config: ConfigDict) -> None:
    """A wide restorer on crops at the pixels of the files, for a GPU; its weights take 16 MB."""
    config.generator = {**restorer(), "features": (48, 96, 160), "blocks": (3, 3, 4)}
    config.data.update(image_size=512, load_size=0, crop_size=128, crop_align=8, batch_size=32, limit=0, threads=8)
    config.train.update(precision="bfloat16", steps=60000, epochs=0, ema=0.999, eval_every=5000, save_every=5000)
    config.train.update(sample_every=20000, log_every=100)


def perceptual(**changes: object) -> dict:
    """A loss over the maps of a published network, whose weights the user has (nothing is fetched)."""
    return {
        "weight": 0.0,  # of the term; 0: none, and no weights are needed
        "network": "vgg19",  # of medjax.weights.NETWORKS
        "weights": "",  # its file; "": in the folder $MEDJAX_WEIGHTS
        "layers": ("conv5_4",),  # equally weighted; conv before the activation (ESRGAN), relu after it (SRGAN)
        "distance": "l1",  # l1, l2, charbonnier
        **changes,
    }


def classifier() -> dict:
    """ResNet-18 on one channel."""
    return {
        "name": "resnet_classifier",
        "depth": 18,  # 10, 18, 34, 50
        "width": 64,  # channels of the first of four levels
        "norm": "batch",  # or group
        "stem": "published",  # 7x7 at stride 2 and pooling; half: 3x3 at stride 2; full: 3x3 at stride 1
        "contrast": 0.0,  # pixels over which local contrast is measured for a second channel; 0: none
        "pool": "mean",  # of the last maps over positions; or max, for findings that cover little of an image
        "dropout": 0.0,  # of the pooled vector
    }


def optimizer(**changes: object) -> dict:
    """Adam as pix2pix uses it: constant, then linear to zero."""
    return {
        "learning_rate": 2e-4,
        "discriminator_share": 1.0,  # the discriminator's learning rate in shares of it (Heusel et al. 2017: two rates)
        "b1": 0.5,
        "b2": 0.999,
        "schedule": "linear",  # linear: constant, then linear to 0; cosine; constant
        "constant_share": 0.5,  # of the steps, before the linear decay
        "warmup": 0,  # steps from 0 to the learning rate
        "clip": 0.0,  # global norm of the gradient; 0: no clipping
        "weight_decay": 0.0,  # decoupled from the gradient (Loshchilov and Hutter 2019), times the learning rate
        **changes,
    }


def train(**changes: object) -> dict:
    """The run."""
    return {
        "epochs": 0,  # used where steps is 0
        "steps": 0,
        "ema": 0.0,  # decay of the average of the generator's weights; 0: none
        "remat": False,  # blocks computed again in the backward pass: less memory, a third more time
        "devices": 1,  # of each process, that share every batch; 0: all there are
        "fsdp": False,  # over several devices: large parameters, their moments and averages in parts, no copy on each
        "microbatch": 0,  # gradients averaged over so many images at a time, to hold fewer activations; 0: the whole batch
        "precision": "float32",  # or bfloat16: of the computation; parameters, norms and losses stay float32
        "deterministic": False,  # on a GPU: bit-exact resume at some cost
        "steps_per_call": 1,  # steps in one call of the device, between which nothing is logged, scored or saved
        "log_every": 50,
        "eval_every": 1000,
        "eval_images": 32,  # validation images scored during training at most; 0: all
        "save_every": 1000,
        "sample_every": 1000,
        "sample_colours": "",  # a colour map for a second copy of the sample sheets' pictures, e.g. viridis
        "needs_init": False,  # a second phase: refuses to begin without init_from
        "best": "psnr:max",  # the checkpoint kept beside the two latest; step:max is the last one validated
        "patience": 0,  # the run ends after so many validations in a row without a better score of `best`; 0: never
        "tensorboard": True,
        "progress": True,
        "compilation_cache": "~/.cache/medjax/xla",  # "": none
        **changes,
    }


def evaluation() -> dict:
    """What `medjax evaluate` prints beside the model."""
    return {
        "samples": 0,  # of each class, for a run that makes images from labels; 0: as many as there are real ones
        # filters tuned on validation images: gaussian, median, bilateral, nlm, tv, wavelet, clahe, equalise, gamma;
        # maps of intensity fitted to training images: linear, monotone
        "baselines": ("gaussian", "median", "bilateral", "nlm", "tv", "wavelet", "clahe"),
        # LPIPS and distances between sets over these networks, where their weights are at hand
        "features": ("inception_v3", "resnet50_radimagenet", "densenet121_xrv", "lpips_alex", "lpips_vgg"),
        "feature_distances": ("fd", "kid", "precision", "recall", "density", "coverage", "mmd"),  # or fd_infinity, slow
        # the files of weights; "": $MEDJAX_WEIGHTS/<the published name>
        "weights": dict.fromkeys(("inception_v3", "resnet50_radimagenet", "densenet121_xrv", "vgg16", "vgg19", "alexnet",
                                  "resnet18", "resnet50", "lpips_alex", "lpips_vgg"), ""),
    }  # fmt: skip


def run(name: str, variant: str, **sections: object) -> ConfigDict:
    """A whole config; `sections` are method, generator, discriminator, optimizer, data, train, ..."""
    return ConfigDict({"name": name, "variant": variant, "seed": 0, "init_from": "", "evaluation": evaluation(), **sections})
