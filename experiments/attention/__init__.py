"""The parts of `experiments.pix2pix_attention`, the study of paper 000: runs, scores, costs, claims and pages."""
