"""Keras on tgc: models train as on other backends, their steps are compiled, and the bridge says what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import MODELS, losses, with_weights

import tgc
import tgc.keras
from tgc.backends.cpu import compile_many
from tgc.frontends.keras import from_keras
from tgc.keras import Model, callbacks, layers, ops

import keras  # isort: skip

# Keras on JAX, by keras_models.py
JAX = {
    "cnn": [10.51035, 9.771674, 9.084372, 8.461657, 7.866671],
    "lstm_lm": [3.198437, 3.043655, 3.147571, 3.065131, 2.992129],
    "self_attention": [1.156604, 1.098176, 1.093029, 1.088004, 1.085242],
}


def dense(**kwargs: Any) -> Any:
    """A small model, compiled, with data."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"], **kwargs)
    x = np.random.default_rng(0).standard_normal((40, 4), dtype=np.float32)
    return model, x, x.sum(1, keepdims=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("error::tgc.families.RecompilationWarning")
def test_losses_are_those_of_another_backend(name: str) -> None:
    np.testing.assert_allclose(losses(name), JAX[name], rtol=1e-5)


def test_backend_and_names() -> None:
    assert keras.backend.backend() == "tgc"
    assert tgc.keras.layers.Dense is keras.layers.Dense
    assert issubclass(Model, keras.Model)
    assert isinstance(ops.ones((2,)), np.ndarray)


@pytest.mark.parametrize("kwargs", [{"run_eagerly": True}, {"steps_per_execution": 3}])
def test_ways_to_run_a_step_agree(kwargs: dict[str, Any]) -> None:
    """Also with groups of steps that are not full, and a last batch that is not."""
    usual, x, y = dense()
    other, *_ = dense(**kwargs)
    histories = [m.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history for m in (usual, other)]
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-4)
    np.testing.assert_allclose(other.predict(x, 16, verbose=0), usual.predict(x, 7, verbose=0), rtol=1e-3, atol=1e-5)
    found = [m.evaluate(x, y, batch_size=16, verbose=0) for m in (usual, other)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_last_batch_compiles_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """After batches of three sizes, whose programs serve all others."""
    model, x, y = MODELS["cnn"]()
    with_weights(model)
    for rows in (24, 29):
        model.fit(x[:rows], y[:rows], batch_size=16, verbose=0)
    compiled: list[str] = []
    original = compile_many.compile_kernels

    def counted(kernels: Any, *others: Any) -> Any:
        kernels = list(kernels)
        compiled.extend(name for _, name in kernels)
        return original(kernels, *others)

    monkeypatch.setattr(compile_many, "compile_kernels", counted)
    for rows in (27, 35, 39):
        model.fit(x[:rows], y[:rows], batch_size=16, verbose=0)
    assert compiled == []


def test_values_handed_out_stay_as_they_are() -> None:
    model, x, y = dense()
    variable = model.trainable_variables[0]
    value, kept = variable.value, np.array(variable.value)
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(value, kept)
    assert abs(variable.value - kept).max() > 0


def test_callbacks_read_and_write_variables_between_steps() -> None:
    model, x, y = dense()
    seen = []

    class Watch(callbacks.Callback):  # type: ignore[misc]
        async_safe = False

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                self.model.optimizer.learning_rate = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append((int(self.model.optimizer.iterations), self.model.get_weights()[0]))

    model.fit(x, y, batch_size=8, verbose=0, callbacks=[Watch()])
    assert [count for count, _ in seen] == [1, 2, 3, 4, 5]
    assert abs(seen[1][1] - seen[0][1]).max() > 0
    np.testing.assert_array_equal(seen[4][1], seen[1][1])


def test_steps_of_a_model() -> None:
    """One of state and data, with a gradient of its own, and one of data alone."""

    class Own(Model):  # type: ignore[misc]
        def train_step(self, state: Any, data: Any) -> Any:
            trainable, non_trainable, optimizer, metrics = state
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)

            def loss(trainable: Any) -> Any:
                predicted, updated = self.stateless_call(trainable, non_trainable, x, training=True)
                return ops.mean((predicted - y) ** 2), updated

            (value, non_trainable), gradients = tgc.value_and_grad(loss, has_aux=True)(trainable)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
            return {"loss": value}, (trainable, non_trainable, optimizer, metrics)

        def test_step(self, data: Any) -> Any:
            return {**super().test_step(data), "constant": 2.0}

    usual, x, y = dense()
    inputs = keras.Input((4,))
    model = Own(inputs, usual(inputs))
    weights = usual.get_weights()
    model.compile("sgd", "mse")
    first = model.train_on_batch(x, y)
    usual.set_weights(weights)
    np.testing.assert_allclose(first, ((usual.predict(x, verbose=0) - y) ** 2).mean(), rtol=1e-5)
    model.train_on_batch(x, y)
    assert model.train_on_batch(x, y) < first
    assert model.evaluate(x, y, verbose=0, return_dict=True)["constant"] == 2.0


def test_dropout_differs_from_step_to_step() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((200,)), layers.Dropout(0.5)])
    model.compile("sgd", "mse")
    x = np.ones((4, 200), np.float32)
    seen = [model.train_on_batch(x, x * 0) for _ in range(2)]
    assert seen[0] != seen[1]
    np.testing.assert_array_equal(model.predict(x, verbose=0), x)


def test_save_and_load(tmp_path: Path) -> None:
    model, x, y = MODELS["self_attention"]()
    with_weights(model).fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
    assert int(loaded.optimizer.iterations) == 2
    np.testing.assert_allclose(loaded.train_on_batch(x, y), model.train_on_batch(x, y), rtol=1e-5)


def test_graph_of_a_model() -> None:
    model, x, _ = MODELS["cnn"]()
    graph = from_keras(with_weights(model), batch=5)
    assert [v.type.shape for v in graph.inputs] == [(5, 12, 12, 1)]
    (found,) = tgc.interpret(graph, x[:5])
    np.testing.assert_allclose(found, model.predict(x[:5], verbose=0), rtol=1e-4, atol=1e-6)
    open_length = keras.Sequential([keras.Input((None, 3)), layers.Dense(2)])
    with pytest.raises(ValueError, match="give `shapes`"):
        from_keras(open_length)
    assert from_keras(open_length, 2, shapes=(None, 7, 3)).outputs[0].type.shape == (2, 7, 2)
    with pytest.raises(NotImplementedError, match="from_keras"):
        model.export("somewhere", verbose=False)


def test_interrupting_leaves_weights_and_optimizer_as_after_a_step() -> None:
    model, x, y = dense()
    other, *_ = dense()

    class Interrupt(callbacks.Callback):  # type: ignore[misc]
        async_safe = False

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[Interrupt()])
    other.fit(x[:24], y[:24], batch_size=8, shuffle=False, verbose=0)
    for w, v in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)
    assert int(model.optimizer.iterations) == 3


def test_models_predict_in_threads() -> None:
    model, x, _ = dense()
    want = model.predict(x, verbose=0)
    found: list[Any] = [None] * 4

    def run(k: int) -> None:
        for _ in range(20):
            found[k] = model.predict_on_batch(x)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got in found:
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_shapes_are_traced_not_computed() -> None:
    calls = []

    class Twice(layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight((shape[-1], 6))

        def call(self, x: Any) -> Any:
            calls.append(type(x))
            return ops.concatenate([x @ self.kernel, 2 * self.kernel[:1] + x[:, :1]], axis=1)

    out = Twice()(keras.Input((4,)))
    assert out.shape == (None, 12)
    assert not any(issubclass(kind, np.ndarray) for kind in calls)


def test_gradients_and_remat() -> None:
    @ops.custom_gradient
    def log1pexp(x: Any) -> Any:
        e = ops.exp(x)
        return ops.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))

    assert tgc.grad(log1pexp)(np.float32(100)) == 1
    norm = layers.BatchNormalization()
    norm.build((None, 3))
    x = np.random.default_rng(0).standard_normal((5, 3), dtype=np.float32)

    def loss(x: Any) -> Any:
        with keras.StatelessScope() as scope:
            total = ops.sum(keras.remat(lambda x: norm(x, training=True))(x) ** 3)
        return total, scope.get_current_value(norm.moving_mean)

    (_, mean), _ = tgc.value_and_grad(loss, has_aux=True)(x)
    np.testing.assert_allclose(mean, 0.01 * x.mean(0), rtol=1e-5)


def test_branches_assign_to_variables() -> None:
    a, b = keras.Variable(np.float32(1)), keras.Variable(np.float32(2))

    def step(pred: Any) -> Any:
        with keras.StatelessScope() as scope:
            out = ops.cond(pred, lambda: a.assign(5.0), lambda: b.assign(7.0))
        return out, scope.get_current_value(a), scope.get_current_value(b)

    assert [float(x) for x in tgc.jit(step)(True)] == [5, 5, 2]
    assert [float(x) for x in tgc.jit(step)(False)] == [7, 1, 7]


def test_unsupported_things_are_named() -> None:
    with pytest.raises(ValueError, match="sparse"):
        ops.convert_to_tensor([1.0], sparse=True)
    with pytest.raises(ValueError, match="'gpu:0'"), keras.device("gpu:0"):
        pass
    with pytest.raises(ValueError, match="None"):
        ops.convert_to_tensor(None)
    with pytest.raises(NotImplementedError, match=r"keras\.distribution"):
        keras.distribution.DataParallel()
    with pytest.raises(TypeError, match=r"keras\.Model"):
        from_keras(layers.Dense(2))


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Another process."""
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True)


def test_keras_with_another_backend_is_refused() -> None:
    code = (
        "import sys, types\n"
        "for name in ('keras', 'keras.src.backend.config'): sys.modules[name] = types.ModuleType(name)\n"
        "sys.modules['keras.src.backend.config'].backend = lambda: 'torch'\n"
        "import tgc.keras"
    )
    assert "ImportError: Keras is already imported, with the backend 'torch'" in python(code).stderr


def test_unsupported_version_is_refused() -> None:
    code = "import importlib.metadata as m; m.version = lambda _: '3.14.2'; import tgc.keras"
    assert "Keras 3.14.2 is installed, but tgc supports keras>=3.15,<3.16" in python(code).stderr


def test_environment_and_order_of_imports() -> None:
    """The environment is as it was, and any module of the frontend may be the first."""
    code = (
        "import tgc.frontends.keras.ops.core, os, keras\n"
        "from tgc.keras.layers import Dense\n"
        "print(keras.backend.backend(), os.environ['KERAS_BACKEND'], Dense is keras.layers.Dense)"
    )
    assert python(code, KERAS_BACKEND="jax").stdout.split() == ["tgc", "jax", "True"]


def test_plain_tgc_does_not_import_keras() -> None:
    assert python("import tgc, sys; print('keras' in sys.modules)").stdout.split() == ["False"]
