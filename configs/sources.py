"""What each kind of data can be told: sections of `config.data` called like the kinds; () and "" leave it to them."""

from __future__ import annotations


def source_options() -> dict:
    """The sections of all kinds."""
    mixed = {"kinds": ()}  # other kinds, KIND or KIND:FOLDER, the folder below data.root; options are those of each kind
    return {**phantom_options(), **image_options(), **pool_options(), **volume_options(), "mixed": mixed}


def phantom_options() -> dict:
    """Simulated images, drawn at run time."""
    return {
        "phantom_cxr": {
            "count": 0,  # how many
            "dose": 1.0,  # exposure relative to normal
            "findings": (),  # taken in turn: No Finding, Mass, Pneumonia, COPD
        },
        "phantom_mri": {
            "count": 0,  # heads
            "size": 0,  # pixels along a slice; 0: what the run is trained on
            "direction": ("T1", "T2"),
            "plane": "axial",
            "range_mm": (),  # lowest and highest position from the middle of the brain; (): all of it
            "step_mm": 0.0,
            "context": 0,
            "fov_mm": 208.0,
            "percentiles": (0.0, 99.5),
            "field": 1.5,  # tesla: 1.5 or 3.0
            "lesions": True,
            "veiled": 0.25,  # share of the lesions that no T1-weighted image shows
            "bias": 0.2,  # amplitude of the coil's field
            "snr": 40.0,  # of white matter
            "stripped": False,  # everything outside the brain at 0
        },
        "phantom_digits": {"count": 0, "pair": "degraded"},
    }


def image_options() -> dict:
    """Files of images."""
    return {
        "nih_cxr14": {
            "labels": (),  # only images with one of these
            "label_mode": "any",  # any: beside others; single: alone
            "views": ("AP", "PA"),
            "images": "",  # the folder, where the same names lie in several
            "missing": "error",  # or skip: images that the table names and are not there
        },
        "actualmed": {"views": ("AP", "PA"), "images": "", "missing": "error"},
        "pairs": {
            "value_range": (),  # stored values at black and white, e.g. (0,4095) for 12 bits in 16
            "patient_pattern": "",  # regular expression whose first group is the patient in a file's name
        },
        "folder": {"value_range": (), "patient_pattern": "", "recursive": False, "modality": ""},  # modality: CXR, CT, MR
        "mnist": {"pair": "degraded"},  # or inverted
    }


def pool_options() -> dict:
    """Two pools, of low and of high quality, of different patients; and pairs that were made of one of them.

    `data.degradation.steps`, where there are some, are applied to the pool of low quality, each image once and for all.
    """
    return {
        "padchest": {
            "pooled": True,  # two pools by exposure; False: every image, for a classifier
            "low_exposure": (-1000.0, -1.0),  # lowest and highest RelativeXRayExposure_DICOM; nobody has published bounds
            "high_exposure": (-0.1, 0.1),
            "low_limit": 0,  # images of a pool at most; 0: all
            "class_limit": 0,  # of a classifier: images of each class at most
            "high_limit": 0,
            "pick": "extreme",  # which, of more: the lowest exposures and those nearest to zero; or drawn
            "shared": "error",  # patients with images in both pools: an error, or the pool that keeps them, low or high
            "views": ("PA", "AP"),
            "value_range": (),
            "inverted": "keep",  # or skip: what the table calls MONOCHROME1
            "missing": "error",
        },
        "pools": {"value_range": (), "patient_pattern": ""},  # folders low/ and high/
        "phantom_pools": {
            "count": 0,  # patients of both pools
            "low_share": 0.5,
            "dose": 1e-3,  # of the pool of low quality, relative to normal
            "findings": (),
        },
        "unpaired": {
            "low": "",  # kinds of data of single images, KIND or KIND:FOLDER below data.root; two kinds: each as it comes
            "high": "",  # one kind for both: its patients are dealt to the pools
            "low_share": 0.5,
        },
        "led_pairs": {"check": True},  # the hash of every file, before anything is trained
    }


def volume_options() -> dict:
    """Slices of volumes: NIfTI files and DICOM series."""
    return {
        "mri_pairs": {
            "direction": ("T1", "T2"),  # source and target contrast, as file names have them
            "plane": "axial",  # axial, coronal, sagittal
            "slices": "mm",  # by position; or index: by number, which shows other anatomy in every subject
            "range_mm": (),  # lowest and highest position from the middle of the head; (): all
            "index_range": (),  # first and last slice, for slices=index
            "step_mm": 0.0,  # between slices; 0: every slice
            "context": 0,  # neighbouring slices on either side as channels
            "fov_mm": 0.0,  # side of the canvas; 0: the widest head
            "percentiles": (0.0, 99.5),  # of the values inside the head that become 0 and 1
            "mask": "auto",  # the head: support of a skull-stripped volume, else otsu
            "registration": "refuse",  # pairs that do not fit; or rigid: registered by mutual information
            "cache": "",  # a folder for what was measured of each pair; "": in the user's cache folder; off: none
            "min_foreground": 0.02,  # slices whose head covers less of the canvas are left out
            "subjects": "",  # regular expression of the names kept
            "exclude": "",  # and of those left out
            "missing": "error",  # or skip: subjects with one contrast only
        },
        "volumes": {
            "plane": "axial",
            "window": (-1000.0, 400.0),  # values that become 0 and 1, HU for CT; (): percentiles inside the body
            "percentiles": (0.0, 99.5),
            "range_mm": (),
            "step_mm": 0.0,
            "fov_mm": 0.0,
            "names": "",  # regular expression of the volumes opened
            "patient_pattern": "",
            "bad": "error",  # or skip: volumes that cannot be used
        },
        "mri_slices": {
            "contrast": "T1",  # of the files called NAME-T1.nii.gz
            "plane": "axial",
            "percentiles": (0.0, 99.5),
            "range_mm": (),  # from the middle of the grid
            "step_mm": 0.0,
            "fov_mm": 0.0,
            "bad": "error",
        },
    }
