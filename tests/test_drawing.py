"""Graphs as others draw them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import networkx as nx
import numpy as np
import pytest
from graphs import GRAPHS, block, in_region

import tgc
from tgc.drawing import LINES
from tgc.ir import Graph


def dot_edges(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^  (\w+) -> (\w+)", text, re.MULTILINE)


@pytest.mark.parametrize("name", GRAPHS)
def test_dot_has_the_graph(name: str) -> None:
    """As many nodes and edges as NetworkX has, each edge between nodes that are declared, each string closed."""
    graph: Graph = GRAPHS[name]
    text = graph.to_dot()
    nodes = re.findall(r"^  (\w+) \[label=", text, re.MULTILINE)
    made = graph.to_networkx()
    assert len(nodes) == len(set(nodes)) == made.number_of_nodes()
    assert len(dot_edges(text)) == made.number_of_edges()
    assert {end for edge in dot_edges(text) for end in edge} <= set(nodes)
    assert isinstance(made, nx.MultiDiGraph)
    assert text.startswith("digraph ")
    assert text.endswith("\n}")
    assert all(line.count('"') % 2 == line.count('\\"') % 2 for line in text.split("\n"))


def test_dot_names_kernels_and_types() -> None:
    text = in_region(block()).to_dot()
    assert "block (fused)" in text
    assert "%x\\nf32[2,8,8,3]" in text


def test_html_is_the_text() -> None:
    graph = tgc.jit(lambda x: tgc.numpy.exp(x < 3)).lower(np.zeros((2, 3), np.float32)).graph
    html = graph._repr_html_()
    assert html.startswith("<details open><summary>")
    pre = ElementTree.fromstring(html.replace("<details open>", "<details>")).find("pre")
    assert pre is not None
    assert "".join(pre.itertext()) == str(graph)


def test_html_of_large_graphs_is_cut() -> None:
    def f(x: object) -> object:
        for _ in range(LINES):
            x = tgc.numpy.sin(x)
        return x

    html = tgc.jit(f).lower(np.zeros(2, np.float32)).graph._repr_html_()
    assert "3 more lines" in html
    assert "<details>" in html
