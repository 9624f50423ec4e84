"""The workloads, by name, in the order of the tables."""

from benchmarks.workloads import cnn, convolutions, elementwise, lstm, matmuls, resnet, transformer
from benchmarks.workloads.base import Workload

MODULES = (cnn, transformer, resnet, lstm, elementwise, matmuls, convolutions)
WORKLOADS: dict[str, Workload] = {w.name: w for module in MODULES for w in module.WORKLOADS}
