"""`tgc stats`: what a model computes and how much of everything that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.command import command
from tgc.cli.models import Spec, model_options

if TYPE_CHECKING:
    from tgc.cli.opened import Opened
    from tgc.ir import Constant, Graph


@command("stats")
@model_options
def stats(model: str, shapes: Sequence[tuple[str, Spec]], backend: str, passes: str | None, as_json: bool) -> None:
    """Count ops, FLOPs, bytes, parameters and memory.

    FLOPs are those of the model as it is written, a multiply-add counted as two; a loop of known length counts each
    time, a while loop once, a branch as the costliest. Bytes are what its kernels must read and write.
    """
    from tgc.cli.opened import open_model
    from tgc.cli.output import count, nbytes, plural, print_json, print_pairs, print_table

    found = statistics(open_model(model, shapes, backend, passes))
    if as_json:
        print_json(found)
        return
    memory = found["memory"]
    parts = [f"{what} {nbytes(n)}" for what, n in memory.items() if what != "peak" and n]
    print_pairs(
        {
            "model": f"@{found['name']}",
            "inputs": ", ".join(f"{name} {type}" for name, type in found["inputs"].items()) or "none",
            "results": ", ".join(found["results"]),
            "parameters": f"{found['parameters']:,} in {plural(found['constants'], 'constant')}",
            "work": count(found["flops"], "FLOP"),
            "traffic": f"{nbytes(found['bytes'])}, {found['flops'] / max(found['bytes'], 1):.3g} FLOP a byte",
            "kernels": f"{found['kernels']}, of {sum(found['ops'].values())} ops",
            "peak memory": f"{nbytes(memory['peak'])}: {', '.join(parts)}",
        }
    )
    click.echo()
    whole = max(found["flops"], 1)
    rows = [
        (
            op,
            n,
            count(found["flops_by_op"].get(op, 0), "FLOP"),
            f"{100 * found['flops_by_op'].get(op, 0) / whole:.1f} %",
        )
        for op, n in sorted(
            found["ops"].items(), key=lambda row: (-found["flops_by_op"].get(row[0], 0), -row[1], row[0])
        )
    ]
    print_table(["op", ">nodes", ">work", ">share"], rows)


def _constants(graph: Graph) -> list[Constant]:
    """Those of a graph and of its regions, each once."""
    from tgc.text import constants_of

    return list({(c.digest, c.value.type): c for c in constants_of(graph)}.values())


def statistics(opened: Opened) -> dict[str, Any]:
    """The figures, as data; memory in bytes."""
    from tgc.cli.opened import inputs_of
    from tgc.ops.control import every_node
    from tgc.ops.work import traffic_of, work_by_op
    from tgc.passes.memory import arena_bytes
    from tgc.types import is_inexact

    stages = list(opened.stages.values())
    first, last = stages[0], stages[-1]
    plain = opened.stages.get("inline", first)  # the model as it is written, its composites taken apart
    work = work_by_op(plain)
    ops = Counter(node.op.name for node in every_node(plain))
    memory = {
        "inputs": sum(v.type.nbytes for v in last.inputs),
        "constants": sum(c.value.type.nbytes for c in _constants(last)),
        "intermediate values": arena_bytes(last),
        "results": sum(v.type.nbytes for v in last.outputs),
    }
    return {
        "name": opened.name,
        "inputs": {name: str(type) for name, type in inputs_of(first).items()},
        "results": [f"{name} {v.type}" for name, v in zip(opened.outputs, first.outputs, strict=True)],
        "parameters": sum(c.value.type.size for c in _constants(first) if is_inexact(c.value.dtype)),
        "constants": len(_constants(first)),
        "ops": dict(ops),
        "flops": sum(work.values()),
        "flops_by_op": work,
        "bytes": traffic_of(last),
        "kernels": len([node for node in every_node(last) if node.op.name == "fused"]),
        "memory": {**memory, "peak": sum(memory.values())},
    }
