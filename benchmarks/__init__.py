"""Speed of tgc beside other implementations of the same workloads: `python -m benchmarks --help`."""
