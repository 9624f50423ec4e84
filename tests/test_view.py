"""The explorer's data, page and server; `test_view_browser.py` looks at it in Chromium."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgc
from tgc import numpy as tnp
from tgc.errors import TraceError
from tgc.ir import Builder, Graph
from tgc.jit import LoweredFunction
from tgc.ops import REGISTRY
from tgc.runtime.profile import Profile, Roofline, Row
from tgc.types import F32, tensor_type
from tgc.view import Model, page, serve

ROOT = Path(__file__).parents[1]
HOSTILE = "</script><img src=x onerror=alert(1)><!--&amp;"


def layer(x: Any, w: Any, b: Any) -> Any:
    hidden = tnp.tanh(x @ w + b)
    return tgc.fori_loop(0, 3, lambda _, h: tnp.sin(h) + b, hidden).sum(axis=1), hidden


@pytest.fixture(scope="module")
def lowered() -> LoweredFunction:
    found = tgc.jit(layer).lower(tensor_type(F32, (6, 8)), tensor_type(F32, (8, 8)), tensor_type(F32, (8,)))
    assert isinstance(found, LoweredFunction)
    return found


def nodes(graph: dict[str, Any]) -> Iterator[list[Any]]:
    """The nodes of a graph's data, and of its regions."""
    for node in graph["nodes"]:
        yield node
        for _, region in node[4]:
            yield from nodes(region)


def test_every_stage_has_its_nodes_with_their_operands(lowered: LoweredFunction) -> None:
    data = Model.of(lowered).data()
    assert [name for name, _ in data["stages"]] == list(lowered.stages)
    for (_, number), graph in zip(data["stages"], lowered.stages.values(), strict=True):
        found = data["graphs"][number]
        ops = [data["records"][n[0]]["op"] for n in found["nodes"]]
        assert ops == [n.op.name for n in graph.nodes]
        types = [data["types"][data["records"][n[0]]["types"][0]]["text"] for n in found["nodes"]]
        assert types == [str(n.results[0].type) for n in graph.nodes]
        made = len(found["inputs"]) + len(found["constants"])
        for node in found["nodes"]:
            assert all(0 <= k < made for k in node[2])
            made += len(data["records"][node[0]]["types"])
        keys = [n[1] for n in nodes(found)]
        assert len(set(keys)) == len(keys)
    assert json.loads(json.dumps(data)) == data


def test_kernels_are_held_by_nodes(lowered: LoweredFunction) -> None:
    data = Model.of(lowered).data()
    held = {name for node in nodes(data["graphs"][-1]) for name in node[3]}
    assert held == set(data["kernels"])
    assert all(f"def {name}(" in source for name, source in data["kernels"].items())


def test_nodes_keep_their_number_from_stage_to_stage(lowered: LoweredFunction) -> None:
    data = Model.of(lowered).data()

    def where(stage: int, op: str) -> list[int]:
        return [n[1] for n in nodes(data["graphs"][stage]) if data["records"][n[0]]["op"] == op]

    first, *_, last = range(len(data["graphs"]))
    assert where(first, "dot") == where(last, "dot") != []
    assert where(first, "tanh") == where(last, "tanh") != []
    assert not where(first, "fused")
    assert where(last - 1, "fused") == where(last, "fused")  # memory only adds places


def test_a_pass_that_shares_nothing_changes_nothing(lowered: LoweredFunction) -> None:
    text = {name: tgc.parse(str(graph)) for name, graph in lowered.stages.items()}
    shared, parsed = Model.of(lowered).data(), Model("layer", text).data()
    for (name, a), (_, b) in zip(shared["stages"], parsed["stages"], strict=True):
        assert [n[1] for n in nodes(shared["graphs"][a])] == [n[1] for n in nodes(parsed["graphs"][b])], name


def test_buffers_do_not_overlap() -> None:
    low = tgc.jit(lambda x: tnp.cumsum(tnp.cumsum(tnp.cumsum(x, 0), 1), 0).sum()).lower(tensor_type(F32, (64, 64)))
    data = Model.of(low).data()
    assert len(data["graphs"]) < len(data["stages"])  # passes that found nothing to do share theirs
    arena = data["arena"]
    assert arena["buffers"]
    assert max(b["at"] + b["size"] for b in arena["buffers"]) <= arena["bytes"]
    for k, a in enumerate(arena["buffers"]):
        for b in arena["buffers"][:k]:
            apart = a["at"] >= b["at"] + b["size"] or b["at"] >= a["at"] + a["size"]
            assert apart or a["first"] >= b["last"] or b["first"] >= a["last"]


def test_rows_of_a_profile_belong_to_nodes(lowered: LoweredFunction) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(v.shape, dtype=np.float32) for v in lowered.graph.inputs]
    profile = lowered.compile().profile(*arrays)
    data = Model.of(lowered, profile).data()
    by_key = {n[1]: n for n in nodes(data["graphs"][-1])}
    kernels = [row for row in data["profile"]["rows"] if row["flops"]]
    assert kernels
    for row in kernels:
        label = data["records"][by_key[row["node"]][0]]["label"]
        assert row["name"].startswith(label)


def hostile() -> Model:
    """A model all of whose texts are hostile."""
    builder = Builder(HOSTILE)
    x = builder.input(tensor_type(F32, (2,)), HOSTILE)
    (y,) = builder.emit(REGISTRY["tanh"], [x], loc=(HOSTILE,))
    graph = builder.build([y])
    row = Row(HOSTILE, HOSTILE, 1, 1e-6, 2, 8, 1e-7, (HOSTILE,))
    return Model(HOSTILE, {HOSTILE: graph}, {HOSTILE: HOSTILE}, {}, Profile((row,), 1e-6, Roofline(1e9, 1e9)))


class Tags(HTMLParser):
    """The tags of a page, and the text of its first script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {"src", "href", "onerror"} & {name for name, _ in attrs}, "a page asks nothing of the network"

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)


def test_texts_of_a_model_are_inert() -> None:
    found = Tags()
    found.feed(page(hostile()))
    found.close()
    assert found.tags.count("script") == 2
    assert "img" not in found.tags
    assert json.loads(found.scripts[0]) == hostile().data()


def test_the_bundle_is_built_from_the_sources() -> None:
    web = ROOT / "web"
    names = ["build.mjs", "package-lock.json", "package.json", *(f"src/{p.name}" for p in (web / "src").iterdir())]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0".encode() + (web / name).read_bytes().replace(b"\r\n", b"\n"))
    head = (ROOT / "tgc" / "view" / "explorer.js").read_text(encoding="utf-8").partition("\n")[0]
    assert head == f"// source sha256: {digest.hexdigest()}", "run `npm ci && npm run build` in web/"


def test_the_bundle_has_its_licenses() -> None:
    text = (ROOT / "tgc" / "view" / "explorer.js").read_text(encoding="utf-8")
    for package in json.loads((ROOT / "web" / "package.json").read_text())["dependencies"]:
        assert f"{package} " in text
    assert "Permission is hereby granted" in text
    assert "</script" not in text.lower()


@pytest.fixture
def address() -> str:
    known: list[str] = []
    ready = threading.Event()

    def told(at: str) -> None:
        known.append(at)
        ready.set()

    thread = threading.Thread(target=serve, args=("<p>é",), kwargs={"open_browser": False, "ready": told}, daemon=True)
    thread.start()
    assert ready.wait(10)
    return known[0]


def test_served_to_this_machine_alone(address: str) -> None:
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.read().decode() == "<p>é"
    for request in (
        urllib.request.Request(f"{address}etc/passwd"),
        urllib.request.Request(address, headers={"Host": "rebound.example:80"}),
    ):
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(request, timeout=10)
        caught.value.close()


def test_command(tmp_path: Path) -> None:
    file = tmp_path / "f.tgir"
    file.write_text(str(tgc.jit(tnp.sin).lower(tensor_type(F32, (5,))).graph))
    html = tmp_path / "f.html"
    run = [sys.executable, "-m", "tgc", "view", str(file)]
    made = subprocess.run([*run, "--profile", "--html", str(html)], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    shown = subprocess.run([*run, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["stages"][-1][0] == "memory"


def test_programs_show_themselves(tmp_path: Path) -> None:
    x = np.ones(5, np.float32)
    made = tgc.jit(tnp.sin).compiled(x)
    made.view(tmp_path / "sin.html", profile=made.profile(x))
    assert '"sin"' in (tmp_path / "sin.html").read_text(encoding="utf-8")
    alone = Builder("f")
    graph: Graph = alone.build([alone.input(tensor_type(F32, (5,)), "x")])
    with pytest.raises(TraceError, match="view the LoweredFunction"):
        LoweredFunction(graph, arguments=made.arguments, results=made.results).compile().view()
