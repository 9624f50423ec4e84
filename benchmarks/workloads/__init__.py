"""The workloads, by name, in the order of the table."""

from benchmarks.workloads import cnn, elementwise, products
from benchmarks.workloads.base import Workload

WORKLOADS: dict[str, Workload] = {w.name: w for w in (*cnn.WORKLOADS, *elementwise.WORKLOADS, *products.WORKLOADS)}
