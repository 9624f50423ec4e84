"""`tgc explain`: what the passes made of a model, and why they left the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.command import command
from tgc.cli.models import Spec, model_options

if TYPE_CHECKING:
    from tgc.cli.opened import Opened
    from tgc.ir import Graph, Node


@command("explain")
@model_options
def explain(model: str, shapes: Sequence[tuple[str, Spec]], backend: str, passes: str | None, as_json: bool) -> None:
    """Explain what fused, what did not and why.

    Also what each pass changed, the layouts that were chosen, and where everything lies in memory.
    """
    from tgc.cli.opened import open_model
    from tgc.cli.output import nbytes, plural, print_heading, print_json, print_table

    found = explanation(open_model(model, shapes, backend, passes))
    if as_json:
        print_json(found)
        return
    first, *steps = found["passes"]
    rows = [(p["pass"], p["nodes"], _signed(p["changes"])) for p in steps if p["changes"]]
    print_table(["pass", ">nodes", "changes"], [(first["pass"], first["nodes"], ""), *rows])
    if idle := [p["pass"] for p in steps if not p["changes"]]:
        click.echo(f"\nas many nodes of each op as before: {', '.join(idle)}")
    print_heading(f"{plural(len(found['kernels']), 'kernel')}")
    print_table(
        ["", "kernel", "kind", "results", "in", "ops"],
        [
            (k, r["name"], r["kind"], ", ".join(r["results"]), ", ".join(r["places"]), _listed(r["ops"]))
            for k, r in enumerate(found["kernels"])
        ],
    )
    print_heading("declined")
    for by, reasons in found["declined"].items():
        print_table([by, ""], [(r["what"], r["reason"]) for r in reasons])
    if not found["declined"]:
        click.echo("nothing")
    if found["layouts"]:
        print_heading("layouts")
        print_table(["value", "type", "made by"], [(r["value"], r["type"], r["made by"]) for r in found["layouts"]])
    print_heading(f"memory: an arena of {nbytes(found['arena'])}")
    if found["memory"]:
        print_table(
            ["bytes from", ">size", "value", "made by", "last read by"],
            [(r["from"], nbytes(r["bytes"]), r["value"], r["made"], r["read"]) for r in found["memory"]],
        )


def explanation(opened: Opened) -> dict[str, Any]:
    """The same as data."""
    from tgc.passes.memory import arena_bytes

    last = opened.stages[list(opened.stages)[-1]]
    declined: dict[str, list[dict[str, str]]] = {}
    for r in opened.refusals:
        declined.setdefault(r.by, []).append({"what": r.what, "reason": r.reason})
    return {
        "name": opened.name,
        "passes": list(_passes(opened.stages)),
        "kernels": list(_kernels(last)),
        "declined": declined,
        "layouts": list(_layouts(last)),
        "arena": arena_bytes(last),
        "memory": list(_memory(last)),
    }


def _passes(stages: Mapping[str, Graph]) -> Iterator[dict[str, Any]]:
    """How many nodes each pass left, and how many more or fewer of each op."""
    from tgc.ops.control import every_node

    before: Counter[str] = Counter()
    for k, (name, graph) in enumerate(stages.items()):
        ops = Counter(node.op.name for node in every_node(graph))
        changes = Counter(ops)
        changes.subtract(before)
        yield {"pass": name, "nodes": ops.total(), "changes": {op: n for op, n in changes.items() if n and k}}
        before = ops


def _signed(changes: Mapping[str, int]) -> str:
    return ", ".join(f"{n:+d} {op}" for op, n in sorted(changes.items(), key=lambda change: (-change[1], change[0])))


def _listed(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {op}" if n > 1 else op for op, n in ops.items())


def _place(where: Any) -> str:
    from tgc.passes.memory import kind_and_number

    kind, number = kind_and_number(where)
    return {"arena": f"arena+{number}", "out": f"result {number}", "in": f"input {number}"}[kind]


def _kernels(graph: Graph) -> Iterator[dict[str, Any]]:
    from tgc.ops.control import every_node

    for node in every_node(graph):
        if node.op.name == "fused":
            yield {
                "name": node.body.name,
                "kind": node.attrs["kind"],
                "results": [str(r.type) for r in node.results],
                "places": [_place(where) for where in node.attrs["places"]],
                "ops": dict(Counter(inner.op.name for inner in node.body.nodes)),
                "loc": list(node.loc),
            }


def _layouts(graph: Graph) -> Iterator[dict[str, str]]:
    from tgc.text import value_names

    names = value_names(graph)
    for c in graph.constants:
        if c.value.type.layout is not None:
            yield {"value": f"%{names[c.value]}", "type": str(c.value.type), "made by": "constant, packed once"}
    for node in graph.nodes:
        for r in node.results:
            if r.type.layout is not None:
                yield {"value": f"%{names[r]}", "type": str(r.type), "made by": _name(node)}


def _name(node: Node) -> str:
    return node.body.name if node.op.name == "fused" else node.op.name


def _memory(graph: Graph) -> Iterator[dict[str, Any]]:
    """The values of the arena, in the order in which they are made."""
    from tgc.passes.memory import kind_and_number, root
    from tgc.text import value_names

    names = value_names(graph)
    readers: dict[Any, Node] = {}
    for node in graph.nodes:
        readers.update((root(v), node) for v in node.operands)
    for node in graph.nodes:
        for r, where in zip(node.results, node.attrs.get("places", ()), strict=False):
            kind, at = kind_and_number(where)
            if kind == "arena":
                read = _name(readers[r]) if r in readers else "nobody"
                yield {
                    "from": at,
                    "bytes": r.type.nbytes,
                    "value": f"%{names[r]} {r.type}",
                    "made": _name(node),
                    "read": read,
                }
