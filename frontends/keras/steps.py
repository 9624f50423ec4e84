"""`Steps`: the steps of training, evaluation and prediction, and what runs them compiled."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from keras.src import backend, tree
from keras.src.trainers import trainer as base_trainer
from keras.src.trainers.data_adapters import data_adapter_utils

import tgc
from tgc.frontends.keras.ops.tensors import Tensor
from tgc.frontends.keras.programs import Groups, Program, Step, alike, eager

Tensors = list[Tensor]
Run = Callable[[Groups, list[Any]], Any]  # of the data of some steps


class Steps(base_trainer.Trainer):  # type: ignore[misc]
    """What a step is: one compiled program, unless the model runs eagerly.

    A model may define its own steps, which are traced. They get values of variables, and return new ones:

        def train_step(self, state, data):
            trainable, non_trainable, optimizer, metrics = state  # lists of tensors, as `self.trainable_variables`, ...
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

            def loss(trainable):
                y_pred, updated = self.stateless_call(trainable, non_trainable, x, training=True)
                return self.compute_loss(x, y, y_pred), updated

            (value, non_trainable), gradients = tgc.value_and_grad(loss, has_aux=True)(trainable)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
            return {"loss": value}, (trainable, non_trainable, optimizer, metrics)

    `test_step` does without the optimizer's variables; `predict_step` gets (trainable, non_trainable) and returns the
    outputs and these. A step of `data` alone returns only its logs or outputs, and assigns to variables; it can call
    that of the base class, as `super().train_step(data)`. With `run_eagerly=True` steps are not compiled but run op by
    op; what is differentiated is traced even then.
    """

    _jit_compile: bool | None

    def __init__(self) -> None:
        super().__init__()
        self.train_function: Run | None = None
        self.test_function: Run | None = None
        self.predict_function: Run | None = None

    # ---------------------------------------------------------------------------------------------------------- steps

    def compute_loss_and_updates(
        self,
        trainable_variables: Tensors,
        non_trainable_variables: Tensors,
        metrics_variables: Tensors,
        x: Any,
        y: Any,
        sample_weight: Any,
        training: bool = False,
        optimizer_variables: Tensors | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Any, Tensors, Tensors]]:
        """The loss as a function of the variables' values: what training differentiates.

        Returns:
            The loss, scaled by the optimizer if it scales losses, and a tuple: the loss as it is, the predictions, the
            new values of the non-trainable variables, and those of the metrics' variables.
        """
        kwargs = {"training": training} if self._call_has_training_arg else {}
        y_pred, non_trainable_variables, losses = self.stateless_call(
            trainable_variables, non_trainable_variables, x, return_losses=True, **kwargs
        )
        if losses:
            self._losses_override[:] = losses
        loss, (trainable_variables, non_trainable_variables, metrics_variables) = self.stateless_compute_loss(
            trainable_variables,
            non_trainable_variables,
            metrics_variables,
            x=x,
            y=y,
            y_pred=y_pred,
            sample_weight=sample_weight,
            training=training,
        )
        if losses:
            self._losses_override.clear()
        scaled = loss
        if training and self.optimizer is not None:
            mapping = list(zip(self.optimizer.variables, optimizer_variables or (), strict=True))
            with backend.StatelessScope(state_mapping=mapping):
                scaled = self.optimizer.scale_loss(loss)
        return scaled, (loss, y_pred, non_trainable_variables, metrics_variables)

    def _update_metrics_variables(
        self, metrics_variables: Tensors, loss: Tensor, x: Any, y: Any, y_pred: Any, sample_weight: Any
    ) -> tuple[Any, Tensors]:
        """The logs, and the new values of the metrics' variables."""
        mapping = list(zip(self.metrics_variables, metrics_variables, strict=True))
        with backend.StatelessScope(state_mapping=mapping) as scope:
            rows = next(leaf for leaf in tree.flatten(x) if leaf is not None).shape[0]
            self._loss_tracker.update_state(loss, sample_weight=rows)
            logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return logs, [scope.get_current_value(v) for v in self.metrics_variables]

    def train_step(self, *args: Any) -> Any:
        """One step of training, of (state, data) or, on the variables themselves, of data: see the class."""
        return self._either(self._train, "train", args)

    def test_step(self, *args: Any) -> Any:
        """One step of evaluation, of (state, data) or, on the variables themselves, of data: see the class."""
        return self._either(self._test, "test", args)

    def predict_step(self, *args: Any) -> Any:
        """One step of prediction, of (state, data) or, on the variables themselves, of data: see the class."""
        return self._either(self._predict, "predict", args)

    def _train(self, state: Any, data: Any) -> tuple[Any, Any]:
        trainable, non_trainable, optimizer, metrics = state
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)

        def loss_and_updates(trainable: Tensors) -> tuple[Tensor, Any]:
            return self.compute_loss_and_updates(
                trainable, non_trainable, metrics, x, y, sample_weight, training=True, optimizer_variables=optimizer
            )

        (_, updates), gradients = tgc.value_and_grad(loss_and_updates, has_aux=True)(trainable)
        loss, y_pred, non_trainable, metrics = updates
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        logs, metrics = self._update_metrics_variables(metrics, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, non_trainable, optimizer, metrics)

    def _test(self, state: Any, data: Any) -> tuple[Any, Any]:
        trainable, non_trainable, metrics = state
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        _, (loss, y_pred, non_trainable, metrics) = self.compute_loss_and_updates(
            trainable, non_trainable, metrics, x, y, sample_weight, training=False
        )
        logs, metrics = self._update_metrics_variables(metrics, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, non_trainable, metrics)

    def _predict(self, state: Any, data: Any) -> tuple[Any, Any]:
        trainable, non_trainable = state
        kwargs = {"training": False} if self._call_has_training_arg else {}
        x, _, _ = data_adapter_utils.unpack_x_y_sample_weight(data)
        outputs, non_trainable = self.stateless_call(trainable, non_trainable, x, **kwargs)
        return outputs, (trainable, non_trainable)

    def _either(self, step: Step, mode: str, args: tuple[Any, ...]) -> Any:
        """A step of (state, data), or of data on the variables as they are."""
        if len(args) == 2:
            return step(*args)
        (data,) = args
        return eager(step, self._groups(mode), data)

    def _groups(self, mode: str) -> Groups:
        """The variables whose values steps get."""
        groups = [self.trainable_variables, self.non_trainable_variables]
        if mode == "train":
            groups.append(self.optimizer.variables)
        if mode != "predict":
            groups.append(self.metrics_variables)
        return groups

    # ------------------------------------------------------------------------------------------------------ functions

    def _resolve_auto_jit_compile(self) -> bool:
        """Whether all layers can be traced: those cannot that look things up in TensorFlow."""
        return all(x.supports_jit or _traceable(x) for x in self._flatten_layers())

    @property
    def jit_compile(self) -> bool:
        """Whether steps are compiled."""
        if self._jit_compile is None:
            self._jit_compile = self._resolve_auto_jit_compile()
        return self._jit_compile

    @jit_compile.setter
    def jit_compile(self, value: bool) -> None:
        self._jit_compile = value

    def _made(self, mode: str) -> Run:
        """What runs some steps: all of `steps_per_execution` in one program, fewer one by one.

        Of logs the last ones count, of predictions all. Predicting may run in several threads: it changes no array.
        """
        step = self._step(mode)
        predicts = mode == "predict"
        single: Callable[[Groups, Any], Any] = functools.partial(eager, step)
        several = None
        if not self.run_eagerly and self.jit_compile:
            single = Program(step, in_place=not predicts)
            if self.steps_per_execution > 1:
                several = Program(step, _rows if predicts else _last, in_place=not predicts)
        join = np.concatenate if predicts else _last

        def run(groups: Groups, batches: list[Any]) -> Any:
            if len(batches) == 1:
                return single(groups, batches[0])
            if several is not None and len(batches) == self.steps_per_execution and alike(batches):
                return several(groups, tree.map_structure(lambda *xs: np.stack(xs), *batches))
            outputs = [single(groups, batch) for batch in batches]
            return tree.map_structure(lambda *xs: join(xs), *outputs)

        return run

    def _step(self, mode: str) -> Step:
        """The model's own step as a function of (state, data)."""
        method = getattr(self, f"{mode}_step")
        kinds = [p.kind for p in inspect.signature(method).parameters.values()]
        if len(kinds) > 1 or kinds == [inspect.Parameter.VAR_POSITIONAL]:
            return lambda state, data: method(tuple(state), data)

        def step(state: Any, data: Any) -> tuple[Any, Any]:
            variables, values = (list(chain.from_iterable(x)) for x in (self._groups(mode), state))
            with backend.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
                logs = method(data)
                return logs, [[scope.get_current_value(v) for v in group] for group in self._groups(mode)]

        return step

    def make_train_function(self, force: bool = False) -> Run:
        """What runs steps of training; made anew after `compile`."""
        if self.train_function is None or force:
            self.train_function = self._made("train")
        return self.train_function

    def make_test_function(self, force: bool = False) -> Run:
        """What runs steps of evaluation; made anew after `compile`."""
        if self.test_function is None or force:
            self.test_function = self._made("test")
        return self.test_function

    def make_predict_function(self, force: bool = False) -> Run:
        """What runs steps of prediction; made anew after `compile`."""
        if self.predict_function is None or force:
            self.predict_function = self._made("predict")
        return self.predict_function


def _traceable(layer: Any) -> bool:
    """Whether a layer can be traced that says it cannot be compiled: some mean only XLA."""
    from keras.src.layers.preprocessing.data_layer import DataLayer
    from keras.src.layers.rnn.rnn import RNN

    return isinstance(layer, DataLayer | RNN)


def _last(xs: Any) -> Any:
    """What comes from the last of some batches."""
    return xs[-1]


def _rows(x: Tensor) -> Tensor:
    """The rows of stacked batches."""
    return x.reshape((x.shape[0] * x.shape[1], *x.shape[2:]))
