"""Training and saved models of Keras on tgc beside Keras on JAX and on torch. By hand, or at night:

    python tests/compare_keras.py --python OTHER/bin/python --out FILE.json     # minutes; writes compare_keras.md
    python tests/compare_keras.py ... --only training --models cnn --optimizers Lion,Muon
    python tests/compare_keras.py ... --only training --policies mixed_bfloat16 --optimizers Adam
    python tests/compare_keras.py ... --only exchange                           # saved models

The models of `keras_models.py` train for 50 steps from the same weights, on the same batches, by each optimizer; `own`
is the one that a model is compiled with. Where curves differ by more than their bound, both backends train in a wider
dtype too: the row passes if these curves agree and tgc's narrower one is about as near to them as JAX's, for then what
differs is rounding that training amplifies. Models saved by one backend are loaded by another, which predicts, and goes
on training. Results are added to those that FILE.json holds, from which the table is written; the exit status is 1 if
one of them is above its bound. The other interpreter needs Keras, JAX and torch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from keras_models import MODELS, with_weights

TABLE = Path(__file__).with_suffix(".md")
STEPS, BATCH = 50, 8
# Greatest relative differences of losses. bfloat16 has 8 bits, of which sums and their gradients lose some. In float64
# JAX's attention still takes its softmax in float32.
BOUNDS = {"float32": 1e-4, "float64": 1e-8, "mixed_bfloat16": 2e-2}
WIDER = {"float32": "float64", "mixed_bfloat16": "float32"}
AMPLIFIED = 2.0  # how much further from the wider curve than JAX's tgc's may be
PREDICTIONS, NEXT_LOSSES = 1e-5, 1e-4  # bounds for models that another backend has saved
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "own": {},
    "SGD": dict(learning_rate=0.02, momentum=0.9, nesterov=True),
    "RMSprop": dict(learning_rate=0.002, momentum=0.5, centered=True),
    "Adam": dict(learning_rate=0.005, amsgrad=True),
    "AdamW": dict(learning_rate=0.005, weight_decay=0.01, use_ema=True),
    "Adadelta": dict(learning_rate=1.0),
    "Adafactor": dict(learning_rate=0.01),
    "Adagrad": dict(learning_rate=0.02),
    "Adamax": dict(learning_rate=0.005),
    "Ftrl": dict(learning_rate=0.05, l1_regularization_strength=0.001),
    "Lamb": dict(learning_rate=0.01),
    "Lion": dict(learning_rate=0.001),
    "LossScaleOptimizer": dict(dynamic_growth_steps=10),
    "Muon": dict(learning_rate=0.005),
    "Nadam": dict(learning_rate=0.005),
    "ScheduleFreeAdamW": dict(learning_rate=0.005, warmup_steps=5),
}
Curves = dict[str, list[float]]  # losses by run, which is "model optimizer policy", or by backend

# ---------------------------------------------------------------------------- in the process of one backend


def start(backend: str) -> None:
    """Let Keras use a backend."""
    os.environ["KERAS_BACKEND"] = backend
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # torch's compiler would take longer than all steps
    if backend == "tgc":
        import tgc.keras  # noqa: F401


def steps(model: Any, x: np.ndarray, y: np.ndarray, count: int) -> list[float]:
    """Losses of some steps."""
    batches = [slice(k, k + BATCH) for k in range(0, len(x), BATCH)]
    logs = [model.train_on_batch(x[rows], y[rows], return_dict=True) for rows in (batches * count)[:count]]
    return [float(log["loss"]) for log in logs]


def compiled(name: str, optimizer: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A model without metrics, and its data."""
    import keras

    model, x, y = MODELS[name]()
    kwargs = OPTIMIZERS[optimizer]
    if optimizer == "LossScaleOptimizer":
        kwargs = {"inner_optimizer": keras.optimizers.Adam(0.005), **kwargs}
    chosen = model.optimizer if optimizer == "own" else getattr(keras.optimizers, optimizer)(**kwargs)
    model.compile(chosen, model.loss)
    return with_weights(model), x, y


def train(backend: str, runs: Iterable[str]) -> Curves:
    """The losses of runs; those in float64 compute nothing in float32, as Keras would but with TensorFlow."""
    import keras
    from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

    curves = {}
    for run in runs:
        name, optimizer, policy = run.split()
        if backend == "jax":
            import jax

            jax.config.update("jax_enable_x64", policy == "float64")
        keras.utils.clear_session()
        BIT64_TO_BIT32_DTYPE["float64"] = floatx = "float64" if policy == "float64" else "float32"
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        curves[run] = steps(*compiled(name, optimizer), STEPS)
    return curves


def outcome(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """What a model predicts, and, if it is compiled, its losses in the next steps."""
    return {
        "predicted": model.predict(x, verbose=0).tolist(),
        "losses": steps(model, x, y, 5) if model.compiled else [],
    }


def save(backend: str, folder: str, models: Sequence[str]) -> dict[str, Any]:
    """Models that have been trained, saved with their optimizers."""
    found = {}
    for name in models:
        model, x, y = compiled(name, "own")
        steps(model, x, y, 20)
        model.save(Path(folder) / f"{backend} {name}.keras")
        found[name] = outcome(model, x, y)
    return found


def load(backend: str, folder: str, models: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """Models that others have saved, without torch's optimizers: their classes are of Keras's torch backend."""
    import keras

    found = {}
    for name in models:
        _, x, y = MODELS[name]()
        for other in others:
            model = keras.models.load_model(Path(folder) / f"{other} {name}.keras", compile=other != "torch")
            found[f"{name} {other} {backend}"] = outcome(model, x, y)
    return found


TASKS: dict[str, Callable[..., Any]] = {"train": train, "save": save, "load": load}


# --------------------------------------------------------------------------------------------- what compares


def run(python: str, backend: str, task: str, *arguments: Any) -> Any:
    """The result of a task of a backend, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        subprocess.run([python, __file__, "--inner", json.dumps([str(out), backend, task, *arguments])], check=True)
        return json.loads(out.read_text(encoding="utf-8"))


def difference(got: Sequence[float], want: Sequence[float]) -> float:
    """The greatest relative difference of two curves."""
    a, b = np.array(got), np.array(want)
    worst = np.abs(a - b) / np.abs(b)
    return float(worst.max()) if np.isfinite(worst).all() else float("inf")


def curves(python: str, runs: Sequence[str]) -> dict[str, Curves]:
    """Run -> the curves of both, by backend."""
    with ThreadPoolExecutor(2) as pool:
        mine, other = pool.map(lambda who: run(*who, "train", runs), [(sys.executable, "tgc"), (python, "jax")])
    return {name: {"tgc": mine[name], "jax": other[name]} for name in runs}


def exchange(python: str, models: Sequence[str]) -> dict[str, list[float]]:
    """Model, saver and loader -> differences of the predictions, and of the losses of the next steps."""
    pythons = {"tgc": sys.executable, "jax": python, "torch": python}
    with tempfile.TemporaryDirectory() as folder:
        saved = {name: run(interpreter, name, "save", folder, models) for name, interpreter in pythons.items()}
        loaded: dict[str, Any] = {}
        for name, interpreter in pythons.items():
            loaded |= run(interpreter, name, "load", folder, models, ["jax", "torch"] if name == "tgc" else ["tgc"])
    found = {}
    for key, got in loaded.items():
        name, saver, _ = key.split()
        want = saved[saver][name]
        a, b = np.array(got["predicted"]), np.array(want["predicted"])
        found[key] = [float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))]
        found[key] += [difference(got["losses"], want["losses"])] if got["losses"] else []
    return found


class Report:
    """The table of all that is held, and the rows that are above their bounds."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.curves: dict[str, Curves] = held["curves"]
        self.exchanged: dict[str, list[float]] = held["exchanged"]

    def apart(self, name: str) -> float | None:
        """How far apart the two curves of a run are."""
        pair = self.curves.get(name)
        return difference(pair["tgc"], pair["jax"]) if pair else None

    def rounding(self, case: str, policy: str, backend: str) -> float | None:
        """How far a backend's curve is from its curve in the wider dtype."""
        narrow, wide = (self.curves.get(f"{case} {name}") for name in (policy, WIDER[policy]))
        return difference(narrow[backend], wide[backend]) if narrow and wide else None

    def above(self, name: str) -> bool:
        """Whether the curves of a run differ by more than their bound, and than rounding explains."""
        case, policy = name.rsplit(" ", 1)
        apart = self.apart(name) or 0.0
        if apart <= BOUNDS[policy]:
            return False
        exact = self.apart(f"{case} {WIDER[policy]}") if policy in WIDER else None
        if exact is None or exact > BOUNDS[WIDER[policy]]:
            return True
        mine, other = (self.rounding(case, policy, backend) or 0.0 for backend in ("tgc", "jax"))
        return max(mine, apart) > AMPLIFIED * other

    def lines(self) -> Iterable[str]:
        yield f"Keras on tgc beside Keras on JAX, by `tests/compare_keras.py`: losses of {STEPS} steps, and the"
        yield "greatest relative difference of the two curves in each dtype policy; then how far the curve of each is"
        yield "from its own curve in a wider dtype, where that tells rounding from another cause. In float64 nothing is"
        yield "computed in float32 but the softmax of JAX's attention."
        yield ""
        own = [(policy, backend) for policy in WIDER for backend in ("tgc", "jax")]
        head = ["model", "optimizer", "first loss", "last, tgc", "last, JAX", *BOUNDS]
        head += [f"{policy} from {WIDER[policy]}, {'JAX' if backend == 'jax' else backend}" for policy, backend in own]
        yield f"| {' | '.join(head)} |"
        yield "| --- | --- |" + " ---: |" * (len(head) - 2)
        cases = {name.rsplit(" ", 1)[0]: name for name in self.curves if name.endswith(" float32")}
        order = {name: k for k, name in enumerate([*MODELS, *OPTIMIZERS])}
        for case in sorted(cases, key=lambda c: [order[part] for part in c.split()]):
            pair = self.curves[cases[case]]
            losses = [f"{x:.5g}" for x in (pair["jax"][0], pair["tgc"][-1], pair["jax"][-1])]
            found = [self.apart(f"{case} {policy}") for policy in BOUNDS]
            found += [self.rounding(case, *which) for which in own]
            cells = [*case.split(), *losses, *("" if x is None else f"{x:.1e}" for x in found)]
            yield f"| {' | '.join(cells)} |"
        yield ""
        bounds = ", ".join(f"{bound:.0e} in {policy}" for policy, bound in BOUNDS.items())
        yield f"Bounds: {bounds}; where the curves are further apart,"
        yield f"those of the wider dtype must agree, and {AMPLIFIED:.0f} times JAX's own distance bounds"
        yield "tgc's, and that between the two."
        yield ""
        yield "Models that one backend has trained and saved (`.keras`), in another: differences of predictions,"
        yield "relative to the greatest one or to 1, and of the losses of the next steps."
        yield ""
        yield "| model | saved by | loaded by | predictions | losses |"
        yield "| --- | --- | --- | ---: | ---: |"
        for key, values in sorted(self.exchanged.items(), key=lambda item: [*MODELS].index(item[0].split()[0])):
            yield f"| {' | '.join([*key.split(), *(f'{x:.1e}' for x in values), ''][:5])} |"
        yield ""
        yield f"Bounds: {PREDICTIONS:.0e} and {NEXT_LOSSES:.0e}."

    def wrong(self) -> list[str]:
        """What is above its bound."""
        wrong = [f"{name}: {self.apart(name):.1e}" for name in self.curves if self.above(name)]
        for key, values in self.exchanged.items():
            if any(x > bound for x, bound in zip(values, (PREDICTIONS, NEXT_LOSSES), strict=False)):
                wrong.append(f"{key}: {', '.join(f'{x:.1e}' for x in values)}")
        return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has JAX and torch")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--optimizers", default=",".join(OPTIMIZERS))
    parser.add_argument("--policies", help="by default float32, and mixed_bfloat16 for Adam")
    parser.add_argument("--only", choices=("training", "exchange"))
    parser.add_argument("--out", type=Path, help="a JSON file to which results are added")
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inner:
        out, backend, task, *arguments = json.loads(args.inner)
        start(backend)
        Path(out).write_text(json.dumps(TASKS[task](backend, *arguments)), encoding="utf-8")
        return 0

    held: dict[str, Any] = {"curves": {}, "exchanged": {}}
    if args.out and args.out.exists():
        held = json.loads(args.out.read_text(encoding="utf-8"))
    report = Report(held)
    if args.only != "exchange":
        runs = [
            f"{model} {optimizer} {policy}"
            for model in args.models.split(",")
            for optimizer in args.optimizers.split(",")
            for policy in (args.policies or "float32,mixed_bfloat16").split(",")
            if args.policies or policy == "float32" or optimizer == "Adam"
        ]
        report.curves |= curves(args.python, runs)
        unexplained = [name.rsplit(" ", 1) for name in runs if report.above(name)]
        wider = [f"{case} {WIDER[policy]}" for case, policy in unexplained if policy in WIDER]
        if missing := [name for name in wider if name not in report.curves]:
            report.curves |= curves(args.python, missing)
    if args.only != "training":
        report.exchanged |= exchange(args.python, args.models.split(","))
    text = "\n".join(report.lines())
    print(text)
    if args.out:
        args.out.write_text(json.dumps(held), encoding="utf-8")
        TABLE.write_text(text + "\n", encoding="utf-8")
    wrong = report.wrong()
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
