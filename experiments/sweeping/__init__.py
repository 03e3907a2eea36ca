"""The parts of the random search: fields and their ranges, trials, the table."""
