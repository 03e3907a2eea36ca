"""The parts of `experiments.mri_translation`, the study of paper 002: runs, scores, misalignment, lesions, claims and pages."""
