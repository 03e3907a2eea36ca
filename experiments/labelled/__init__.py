"""The parts of `experiments.cgan_srgan`, the study of paper 001: runs, counts, judgements, claims and pages."""
