"""The CNN in torch, run eagerly: both memory formats, and all of torch's forms of Adam."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.workloads.base import Arrays, Inputs, Variant, stateless
from benchmarks.workloads.cnn import SHAPES, Params, trained

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ADAM = {"single": dict(foreach=False), "foreach": dict(foreach=True), "fused": dict(fused=True)}

# layer -> our weights' axes split, and the order in which torch has them before it merges them again: filters are
# [out, in, height, width], matrices [out, in], and features are flattened with the channels first
AXES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "conv1": ((3, 3, 1, 32), (3, 2, 0, 1)),
    "conv2": ((3, 3, 32, 64), (3, 2, 0, 1)),
    "dense1": ((5, 5, 64, 128), (3, 2, 0, 1)),
    "dense2": ((128, 10), (1, 0)),
}


def network(p: Params, memory: torch.memory_format) -> nn.Sequential:
    """The model with parameters `p`."""
    made = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10)),
    )
    own = made.parameters()
    with torch.no_grad():
        for layer, (split, order) in AXES.items():
            w = next(own)
            w.copy_(torch.from_numpy(p[layer]["w"].reshape(split).transpose(order).reshape(w.shape)))
            next(own).copy_(torch.from_numpy(p[layer]["b"]))
    return made.to(memory_format=memory)  # type: ignore[call-overload, no-any-return]


def as_given(tensors: list[torch.Tensor]) -> Arrays:
    """Tensors of the parameters' shapes, in their order, in our axes."""
    found: Arrays = []
    arrays = iter(tensors)
    for layer, (split, order) in AXES.items():
        w = next(arrays).numpy().reshape([split[a] for a in order]).transpose(np.argsort(order))
        found += [w.reshape(SHAPES[layer]), next(arrays).numpy()]
    return found


def images(x: np.ndarray, memory: torch.memory_format) -> torch.Tensor:
    """Images [n, height, width, channels] as torch has them."""
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=memory)


def training(inputs: Inputs) -> Mapping[str, Variant]:
    """Training steps."""

    def variant(memory: torch.memory_format, form: dict[str, bool]) -> Variant:
        net, x = network(inputs["p"], memory), images(inputs["x"], memory)
        y = torch.from_numpy(inputs["y"]).long()
        optimizer = torch.optim.Adam(net.parameters(), **form)  # type: ignore[arg-type]

        def step(rate: float) -> Any:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.detach()

        return trained(step, lambda: as_given([optimizer.state[p]["exp_avg"] for p in net.parameters()]))

    return {f"{layout}, {adam}": variant(FORMATS[layout], ADAM[adam]) for layout, adam in product(FORMATS, ADAM)}


def inference(inputs: Inputs) -> Mapping[str, Variant]:
    """Logits of a batch."""

    def variant(memory: torch.memory_format) -> Variant:
        net, x = network(inputs["p"], memory).eval(), images(inputs["x"], memory)

        def call() -> torch.Tensor:
            with torch.inference_mode():
                return net(x)  # type: ignore[no-any-return]

        return stateless(call)

    return {layout: variant(memory) for layout, memory in FORMATS.items()}
