"""Studies, benchmarks and checks: what is run with medjax, and imported by nothing in it."""
