"""The parts of `experiments.super_resolution`, the study of paper 003: runs, scores, targets, speed, claims and pages."""
