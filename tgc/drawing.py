"""Graphs as others draw them: in Graphviz's DOT, and in notebooks as HTML. Importing this adds methods to `Graph`."""

from __future__ import annotations

import json
import re

from tgc.ir import Graph
from tgc.ops.kinds import Region
from tgc.text import print_attribute, print_graph, value_names

LINES = 400  # of a graph's text that a notebook shows
_STYLES = {
    "input": 'shape=ellipse, style=filled, fillcolor="#dbe9f6"',
    "constant": 'shape=ellipse, style=filled, fillcolor="#eeeeee"',
    "output": 'shape=ellipse, style=filled, fillcolor="#dff0d8"',
    "fused": 'shape=box, style="filled,rounded", fillcolor="#fdebd0"',
    "": "shape=box, style=rounded",
}


def to_dot(graph: Graph) -> str:
    """The graph in DOT, for Graphviz: `dot -Tsvg`. Edges carry types; attributes that are short are in the nodes.

    The language: https://graphviz.org/doc/info/lang.html
    """
    names = value_names(graph)
    lines = [
        f"digraph {json.dumps(graph.name, ensure_ascii=False)} {{",
        '  node [fontname="Helvetica", fontsize=11];',
        "  edge [fontsize=9];",
    ]

    def node(key: str, label: str, kind: str) -> None:
        lines.append(f"  {key} [label={json.dumps(label, ensure_ascii=False)}, {_STYLES.get(kind, _STYLES[''])}];")

    source = {}
    for kind, values in (("input", graph.inputs), ("constant", [c.value for c in graph.constants])):
        for k, v in enumerate(values):
            source[v] = f"{kind}{k}"
            node(source[v], f"%{names[v]}\n{v.type}", kind)
    for k, n in enumerate(graph.nodes):
        source.update(dict.fromkeys(n.results, f"n{k}"))
        plain = {key: a for key, a in n.attrs.items() if not isinstance(a, Graph) and key != "places"}
        shown = [f"{key}={text}" for key, a in plain.items() if len(text := _printed(a)) <= 24]
        title = f"{n.body.name} ({n.op.name})" if isinstance(n.op, Region) else n.op.name
        node(f"n{k}", "\n".join([title, *shown]), n.op.name)
        lines += [f"  {source[v]} -> n{k} [label={json.dumps(str(v.type), ensure_ascii=False)}];" for v in n.operands]
    for k, v in enumerate(graph.outputs):
        node(f"output{k}", f"result {k}\n{v.type}", "output")
        lines.append(f"  {source[v]} -> output{k};")
    return "\n".join([*lines, "}"])


def _printed(attr: object) -> str:
    whole = isinstance(attr, tuple) and any(isinstance(a, Graph) for a in attr)
    return " " * 99 if whole else print_attribute(attr)  # type: ignore[arg-type]


_SPANS = (
    (r"#.*$", "opacity:.55"),
    (r"%[\w.]+", "color:#2a7f3f"),
    (r"(?<== )[a-z]\w*", "font-weight:bold"),
    (r"\b(?:graph|return|const)\b(?= )", "font-weight:bold;color:#8a3fa0"),
)


def to_html(graph: Graph) -> str:
    """The graph's text as HTML for notebooks, behind a line that sums it up; nothing is loaded from elsewhere."""
    import html  # which few need

    lines = print_graph(graph).split("\n")
    pattern = "|".join(f"({p})" for p, _ in _SPANS)

    def painted(line: str) -> str:
        at, parts = 0, []
        for m in re.finditer(pattern, line):
            style = _SPANS[(m.lastindex or 1) - 1][1]
            parts += [html.escape(line[at : m.start()]), f'<span style="{style}">{html.escape(m[0])}</span>']
            at = m.end()
        return "".join([*parts, html.escape(line[at:])])

    text = "\n".join(map(painted, lines[:LINES]))
    rest = f"\n... {len(lines) - LINES} more lines" if len(lines) > LINES else ""
    inputs = ", ".join(f"{v.name or k}: {v.type}" for k, v in enumerate(graph.inputs))
    results = ", ".join(str(v.type) for v in graph.outputs)
    summary = html.escape(f"@{graph.name}({inputs}) -> {results}, {len(graph.nodes)} nodes")
    is_open = " open" if len(lines) <= 60 else ""
    return (
        f"<details{is_open}><summary>{summary}</summary>"
        f'<pre style="line-height:1.35;overflow-x:auto">{text}{rest}</pre></details>'
    )


Graph.to_dot = to_dot  # type: ignore[assignment, method-assign]
Graph._repr_html_ = to_html  # type: ignore[assignment, method-assign]
