"""How fast the parts are; each module is a command (`python -m experiments.benchmarks.NAME --help`)."""
