"""The parts of the study of paper 004."""
