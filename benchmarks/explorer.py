"""How quickly the explorer opens a large graph and how smoothly it pans, by Chromium's own trace.

    python -m benchmarks.explorer [--nodes 5000] [--chromium /usr/bin/chromium]

`drawn` is the time from the start of the navigation until the first nodes are on the screen and can be panned, `laid
out` until all are. A task of the main thread of more than 50 ms is one that a user can feel.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tgc.ir import Builder, Graph, Value
from tgc.ops import REGISTRY
from tgc.types import F32, tensor_type
from tgc.view import Model, page

FELT = 50  # milliseconds
CATEGORIES = ["blink.user_timing", "toplevel", "devtools.timeline", "loading"]


def network(nodes: int) -> Graph:
    """Residual blocks of a few branches, and then as many that read the first ones again, as a backward pass does."""
    builder = Builder("residual")
    x = builder.input(tensor_type(F32, (64, 64)), "x")
    kept: list[Value] = []

    def op(name: str, *operands: Value) -> Value:
        return builder.emit(REGISTRY[name], operands, loc=(f"net.py:{len(kept) + 10}",), unique=True)[0]

    while builder.count < nodes // 2:
        kept.append(x)
        w = builder.input(x.type, f"block{len(kept)}.w")
        a, b = op("tanh", op("mul", x, w)), op("exp", op("neg", op("mul", x, x)))
        x = op("add", x, op("mul", op("sin", a), b))
    while builder.count < nodes - 8 and kept:
        y = kept.pop()
        a, b = op("mul", x, y), op("cos", op("mul", y, y))
        x = op("add", x, op("mul", op("sqrt", op("abs", a)), b))
    while builder.count < nodes:
        x = op("tanh", x)
    return builder.build([x])


def durations(trace: dict[str, Any], name: str, thread: tuple[int, int]) -> list[float]:
    """Milliseconds of the events of a name in a thread."""
    events = (e for e in trace["traceEvents"] if e["name"] == name and (e["pid"], e["tid"]) == thread)
    return sorted(e["dur"] / 1000 for e in events if "dur" in e)


def traced(view: Page, act: Any) -> dict[str, Any]:
    """The trace of what `act` does."""
    browser = view.context.browser
    assert browser is not None
    browser.start_tracing(page=view, categories=CATEGORIES)
    act()
    trace: dict[str, Any] = json.loads(browser.stop_tracing())
    return trace


def opened(view: Page, address: str) -> dict[str, float]:
    """Milliseconds from the start of the navigation."""

    def act() -> None:
        view.goto(address)
        view.locator("body[aria-busy=false]").wait_for(timeout=60_000)

    trace = traced(view, act)
    marks = {e["name"]: e["args"] for e in trace["traceEvents"] if e["name"] in ("drawn", "laid-out")}
    return {what: args["data"]["startTime"] for what, args in marks.items()}


def panned(view: Page) -> dict[str, float]:
    """Frames and tasks while the graph is dragged about for some seconds."""
    box = view.locator("#graph").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def act() -> None:
        view.mouse.move(x, y)
        view.mouse.down()
        for k in range(180):
            view.mouse.move(x + 3 * (k % 60), y - 2 * k)
        view.mouse.up()

    trace = traced(view, act)
    frames = [e for e in trace["traceEvents"] if e["name"] == "FireAnimationFrame"]
    thread = max({(e["pid"], e["tid"]) for e in frames}, key=lambda t: sum((e["pid"], e["tid"]) == t for e in frames))
    tasks = durations(trace, "RunTask", thread) or durations(trace, "ThreadControllerImpl::RunTask", thread)
    draws = durations(trace, "FireAnimationFrame", thread)
    starts = sorted(e["ts"] / 1000 for e in frames if (e["pid"], e["tid"]) == thread)
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    return {
        "frames": len(draws),
        "median frame": statistics.median(draws),
        "longest frame": draws[-1],
        "median interval": statistics.median(gaps),
        "longest interval": max(gaps),
        "longest task": tasks[-1],
        "felt tasks": sum(t > FELT for t in tasks),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "graph.html"
        graph = network(options.nodes)
        file.write_text(page(Model(graph.name, {"trace": graph})), encoding="utf-8")
        print(f"{len(graph.nodes)} nodes, {file.stat().st_size / 1e6:.1f} MB")
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1400, "height": 900})
        print("open, ms:", {k: round(v) for k, v in opened(view, file.as_uri()).items()})
        for where, key in (("read", "0"), ("whole", "f")):
            view.locator("#graph").press(key)
            print(f"pan, {where} in view, ms:", {k: round(v, 1) for k, v in panned(view).items()})
        browser.close()


if __name__ == "__main__":
    main()
