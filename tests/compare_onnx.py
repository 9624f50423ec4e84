"""Models exported by torch on tgc beside ONNX Runtime, and their gradients beside torch's. By hand:

    OTHER/bin/python tests/onnx_models.py FOLDER             # writes the models
    python tests/compare_onnx.py FOLDER --python OTHER/bin/python

Outputs at batch 1 and 16 are compared with those of ONNX Runtime in the other interpreter, relative to the greatest
magnitude; gradients by each weight with those that torch wrote. The exit status is 1 if one differs by more than 1e-4.
So it is for models in 8 bits, which round at each layer, where ONNX Runtime computes them in integers: with activations
in uint8 by default, with int8 on x86 where it is told that it may. If it is not, 11 of the 20 convolutions of
`resnet18_qdq` are float32 there, whose sums are rounded as they come, and about one result in 10^5 falls to the other
side of a tie: the bound of that session alone, 1e-2, is above one step of the output and below two.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BATCHES = (1, 16)
BOUND, FLOATS = 1e-4, 1e-2
INT8 = ", int8 allowed"  # the sessions of models in 8 bits that have this option
PEER = f"""
import sys, numpy as np, onnxruntime
model, inputs, outputs = sys.argv[1:]
made = {{}}
for name in ["", "{INT8}"] if "_qdq" in model else [""]:
    options = onnxruntime.SessionOptions()
    if name:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    made |= {{f"{{batch}}{{name}}": session.run(None, {{"x": x}})[0] for batch, x in np.load(inputs).items()}}
np.savez(outputs, **made)
"""


def batches(x: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs like `x` for each of the batch sizes."""
    rng = np.random.default_rng(0)
    if x.dtype.kind == "f":
        return {str(n): rng.standard_normal((n, *x.shape[1:]), np.float32) for n in BATCHES}
    return {str(n): rng.integers(0, x.max() + 1, (n, *x.shape[1:])) for n in BATCHES}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The greatest difference, relative to the greatest magnitude."""
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def outputs(path: Path, python: str) -> Iterator[tuple[str, float]]:
    """Differences from ONNX Runtime, by batch size and session."""
    from tgc.frontends.onnx import load

    model = load(path)
    given = path.with_suffix(".inputs.npz")
    made = path.with_suffix(".outputs.npz")
    source = path.with_suffix(".npz")
    x = np.load(source if source.exists() else path.with_name(f"{path.stem.partition('_qdq')[0]}.npz"))["x"]
    inputs = batches(x)
    np.savez(given, **inputs)
    subprocess.run([python, "-c", PEER, str(path), str(given), str(made)], check=True)
    results = {name: model(value) for name, value in inputs.items()}
    for name, expected in np.load(made).items():
        yield f"batch {name}", difference(results[name.removesuffix(INT8)], expected)


def gradients(path: Path) -> Iterator[tuple[str, float]]:
    """The difference of torch's own output, and those of the gradients by all weights that it wrote."""
    import tgc
    from tgc.frontends.onnx import load

    model, kept = load(path), dict(np.load(path.with_suffix(".npz")))
    x, y = kept.pop("x"), kept.pop("y")
    if "seed" not in kept:
        yield "torch", difference(model(x), y)
        return
    seed = kept.pop("seed")

    def loss(weights: dict[str, np.ndarray]) -> tuple[object, object]:
        made = model.apply(weights, x)
        return (made * seed).sum(), made

    (_, found), grads = tgc.jit(tgc.value_and_grad(loss, has_aux=True))(model.weights)
    yield "torch", difference(found, y)
    missing = kept.keys() - grads.keys()
    if missing:
        raise KeyError(f"{path.name} has no weights {', '.join(sorted(missing))}")
    worst = max(kept, key=lambda name: difference(grads[name], kept[name]))
    yield f"gradient by {worst} (of {len(kept)})", difference(grads[worst], kept[worst])


def main() -> int:
    """Compare all models of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has onnxruntime")
    parser.add_argument("--models", help="names, with commas between")
    options = parser.parse_args()
    chosen = options.models.split(",") if options.models else [p.stem for p in sorted(options.folder.glob("*.onnx"))]
    failed = False
    for name in chosen:
        path = options.folder / f"{name}.onnx"
        rows = [*outputs(path, options.python), *(gradients(path) if path.with_suffix(".npz").exists() else ())]
        for what, value in rows:
            bound = FLOATS if name == "resnet18_qdq" and not what.endswith(INT8) else BOUND
            failed |= not value <= bound
            print(f"{name:28} {what:50} {value:.1e}{'' if value <= bound else '   above the bound'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
