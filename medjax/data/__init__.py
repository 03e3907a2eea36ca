"""Where images come from and how they become batches: sources, splits, degradation, augmentation, grain pipelines."""
