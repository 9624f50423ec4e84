"""The explorer in Chromium: opened from a file, and worked with as a user does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_view import HOSTILE, hostile, layer

import tgc
from tgc import numpy as tnp
from tgc.types import F32, tensor_type
from tgc.view import Model, page

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[view-test]'")

from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip(
                f"no browser: none of {', '.join(NAMES)} is installed, and none by `playwright install chromium`"
            )
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """A function of a model that shows it; at the end no error may be reported, and nothing asked of a network."""
    problems: list[str] = []
    opened: list[Page] = []

    def show(model: Model, width: int = 1400, height: int = 900, **settings: Any) -> Page:
        file = tmp_path / "model.html"
        file.write_text(page(model), encoding="utf-8")
        view = browser.new_page(viewport={"width": width, "height": height}, **settings)
        opened.append(view)
        view.on("pageerror", lambda error: problems.append(str(error)))
        view.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        view.on("dialog", lambda dialog: problems.append(dialog.message))
        view.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "blob:")) else None)
        view.goto(file.as_uri())
        settled(view)
        return view

    yield show
    for view in opened:
        view.close()
    assert not problems


def settled(view: Page) -> None:
    """Wait until the stage that was asked for is laid out."""
    view.locator("body[aria-busy=false]").wait_for(timeout=30_000)


@pytest.fixture(scope="module")
def model() -> Model:
    """A layer and a loop, profiled."""
    low = tgc.jit(layer).lower(tensor_type(F32, (64, 32)), tensor_type(F32, (32, 32)), tensor_type(F32, (32,)))
    arrays = [np.ones(v.shape, np.float32) for v in low.graph.inputs]
    return Model.of(low, low.compile().profile(*arrays))


@pytest.fixture(scope="module")
def single() -> Model:
    """One node between an input and a result: it lies in the middle."""
    return Model.of(tgc.jit(tnp.tanh).lower(tensor_type(F32, (8,))))


def middle(view: Page) -> None:
    box = view.locator("#graph").bounding_box()
    assert box is not None
    view.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_search_shows_a_node_with_its_kernel(open_page: Open, model: Model) -> None:
    view = open_page(model)
    expect(view).to_have_title("layer · tgc")
    view.keyboard.press("/")
    view.keyboard.type("dot f32[64,32]")
    expect(view.locator("#hits [role=option]")).to_have_count(1)
    view.keyboard.press("Enter")
    panel = view.locator("#panel")
    expect(view.locator("#chosen")).to_have_text("dot")
    expect(panel).to_contain_text("f32[64,32]")
    expect(panel).to_contain_text("row-major")
    expect(panel).to_contain_text("test_view.py:")
    expect(panel).to_contain_text("of the roofline")
    expect(panel.locator("pre").first).to_contain_text("def dot_")


def test_a_click_chooses_a_node(open_page: Open, single: Model) -> None:
    view = open_page(single)
    middle(view)
    expect(view.locator("#chosen")).to_have_text("tanh")
    view.keyboard.press("Escape")
    expect(view.locator("#chosen")).to_have_count(0)


def test_the_slider_goes_through_the_passes(open_page: Open, model: Model) -> None:
    view = open_page(model)
    slider, name = view.locator("#stage"), view.locator("#stage-name")
    expect(name).to_have_text("trace")
    slider.press("End")
    expect(name).to_have_text("memory")
    view.keyboard.press("[")
    expect(name).to_have_text("fuse")
    settled(view)
    expect(view.locator("#panel .change.added")).to_contain_text("added")
    view.locator("#panel .change.added button").first.click()
    expect(view.locator("#panel .kind")).to_contain_text("added by fuse")
    view.keyboard.press("]")
    expect(view.locator("#stage-name")).to_have_text("memory")
    expect(view.locator("#panel .kind")).to_contain_text("changed by memory")  # it stays chosen


def test_keys_alone(open_page: Open, model: Model) -> None:
    view = open_page(model)
    stops = []
    for _ in range(12):
        view.keyboard.press("Tab")
        stops.append(view.evaluate("document.activeElement.id"))
    assert [stop for stop in stops if stop] == ["stage", "search", "help-button", "graph"]
    view.locator("#stage").press("End")
    settled(view)
    view.keyboard.press("g")
    status = view.locator("#status")
    view.keyboard.press("Home")
    view.keyboard.press("ArrowDown")
    expect(view.locator("#panel .kind")).to_contain_text("kernel")
    view.keyboard.press("Enter")
    expect(status).to_contain_text("expanded")
    expect(view.get_by_role("button", name="Collapse region")).to_be_visible()
    chosen = view.locator("#chosen").text_content()
    view.keyboard.press("ArrowUp")
    expect(view.locator("#chosen")).not_to_have_text(chosen or "")
    view.keyboard.press("c")
    settled(view)
    view.keyboard.press("?")
    expect(view.get_by_role("dialog")).to_be_visible()
    view.keyboard.press("Escape")
    expect(view.get_by_role("dialog")).to_be_hidden()


def test_charts_lead_to_nodes(open_page: Open, model: Model) -> None:
    view = open_page(model)
    for tab in ("Memory", "Profile"):
        view.get_by_role("tab", name=tab).click()
        chart = view.locator(f"#chart-{tab.lower()} canvas")
        chart.focus()
        chart.press("ArrowRight")
        expect(view.locator("#stage-name")).to_have_text("memory")
        expect(view.locator("#panel .kind")).to_contain_text("by memory")
        view.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_follows_the_color_scheme(open_page: Open, single: Model, scheme: str) -> None:
    view = open_page(single, color_scheme=scheme)
    background = view.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(c) for c in background.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (sum(channels) / 3 > 128) == (scheme == "light")


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (420, 800)])
def test_fits_its_window(open_page: Open, model: Model, width: int, height: int) -> None:
    view = open_page(model, width, height)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    for place in ("#graph", "#panel", "#stage", "#search"):
        box = view.locator(place).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] > 10


def test_hostile_texts_are_only_texts(open_page: Open) -> None:
    view = open_page(hostile())
    middle(view)
    view.keyboard.press("/")
    view.keyboard.type("tanh")
    view.keyboard.press("Enter")
    expect(view.locator("#panel .loc")).to_have_text(HOSTILE)
    expect(view.locator("h1")).to_contain_text(HOSTILE)
    assert view.locator("img").count() == 0


def test_thousands_of_nodes(open_page: Open) -> None:
    from benchmarks.explorer import network

    view = open_page(Model("large", {"trace": network(5000)}))
    expect(view.locator("#panel .facts")).to_contain_text("5,000 nodes")
    view.keyboard.press("/")
    view.keyboard.type("%4999")
    view.keyboard.press("Enter")
    expect(view.locator("#chosen")).to_have_text("tanh")
    view.locator("#graph").press("ArrowUp")
    expect(view.locator("#panel")).to_contain_text("%4998")
