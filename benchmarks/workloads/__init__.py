"""The workloads, by name, in the order of the tables; and those that are served, with data of many sizes."""

from benchmarks.workloads import cnn, convolutions, elementwise, lstm, matmuls, resnet, transformer
from benchmarks.workloads.base import Workload

MODULES = (cnn, transformer, resnet, lstm, elementwise, matmuls, convolutions)
WORKLOADS: dict[str, Workload] = {w.name: w for module in MODULES for w in module.WORKLOADS}
SERVED: dict[str, Workload] = {w.name: w for w in transformer.SERVED}
