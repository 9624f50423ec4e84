"""`Trainer`: `fit`, `evaluate`, `predict` and their relatives for single batches."""

from __future__ import annotations

import warnings
from itertools import islice
from typing import Any

import numpy as np
from keras.src import callbacks as callbacks_module
from keras.src import optimizers as optimizers_module
from keras.src import tree
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.backend.config import max_epochs
from keras.src.trainers.data_adapters import array_slicing, data_adapter_utils
from keras.src.trainers.epoch_iterator import EpochIterator
from keras.src.utils import traceback_utils
from keras.src.utils.python_utils import pythonify_logs

from tgc.frontends.keras.steps import Steps


class Batches(EpochIterator):  # type: ignore[misc]
    """Batches in lists of `steps_per_execution`; the last one may be shorter, without a warning that data ran out."""

    def __next__(self) -> tuple[int, int, list[Any]]:
        begin, end, iterator = next(self._epoch_iterator)
        batches = list(islice(iterator, self.steps_per_execution))
        if not batches:
            with self.catch_stop_iteration():  # which warns
                raise StopIteration
            raise StopIteration
        return begin, end, batches


class CallbackList(callbacks_module.CallbackList):  # type: ignore[misc]
    """Callbacks that run between steps: in a thread they would take a core, and the interpreter, from the next step."""

    def _configure_async_dispatch(self, callbacks: Any) -> None:
        pass


class Trainer(Steps):
    """What `keras.Model` trains by; `Steps` says what a model's own steps look like."""

    @traceback_utils.filter_traceback  # type: ignore[untyped-decorator]
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | list[int] = 1,
    ) -> Any:
        """Train the model: see `keras.Model.fit`."""
        self._assert_compile_called("fit")
        if (limit := max_epochs()) and limit < epochs:
            warnings.warn(f"Limiting epochs to {limit}", stacklevel=2)
            epochs = limit
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = array_slicing.train_validation_split(
                (x, y, sample_weight), validation_split=validation_split
            )
        batches = Batches(
            x=x,
            y=y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            shuffle=shuffle,
            class_weight=class_weight,
            steps_per_execution=self.steps_per_execution,
        )
        self._symbolic_build(iterator=batches)
        batches.reset()
        callbacks = self._callbacks(callbacks, verbose, batches, epochs, add_history=True)
        validation: Batches | None = None
        run = self.make_train_function()
        self.stop_training = False
        logs: Any = {}
        epoch_logs: dict[str, Any] = {}
        callbacks.on_train_begin()
        try:
            for epoch in range(self._initial_epoch or initial_epoch, epochs):
                self.reset_metrics()
                callbacks.on_epoch_begin(epoch)
                groups = self._groups("train")
                with batches.catch_stop_iteration():
                    for begin, end, data in batches:
                        callbacks.on_train_batch_begin(begin)
                        logs = run(groups, data)
                        callbacks.on_train_batch_end(end, logs)
                        if self.stop_training:
                            break
                epoch_logs = dict(self._get_metrics_result_or_logs(logs))
                if validation_data is not None and self._should_eval(epoch, validation_freq):
                    if validation is None:
                        validation = self._validation(
                            validation_data, validation_batch_size or batch_size, validation_steps
                        )
                    found = self._evaluate(validation, callbacks)
                    epoch_logs |= {f"val_{name}": value for name, value in found.items()}
                callbacks.on_epoch_end(epoch, epoch_logs)
                if self.stop_training:
                    break
        finally:
            if isinstance(self.optimizer, optimizers_module.Optimizer) and epochs > 0:
                self.optimizer.finalize_variable_values(self.trainable_weights)
        callbacks.on_train_end(logs=epoch_logs)
        return self.history

    def _validation(self, data: Any, batch_size: int | None, steps: int | None) -> Batches:
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        return Batches(
            x=x,
            y=y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            steps_per_epoch=steps,
            shuffle=False,
            steps_per_execution=self.steps_per_execution,
        )

    def _callbacks(
        self, callbacks: Any, verbose: str | int, batches: Batches, epochs: int = 1, **kwargs: bool
    ) -> callbacks_module.CallbackList:
        if isinstance(callbacks, callbacks_module.CallbackList):
            return callbacks
        return CallbackList(
            callbacks,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=batches.num_batches,
            model=self,
            **kwargs,
        )

    @traceback_utils.filter_traceback  # type: ignore[untyped-decorator]
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Loss and metrics: see `keras.Model.evaluate`."""
        self._assert_compile_called("evaluate")
        if kwargs:
            raise ValueError(f"Arguments not recognized: {kwargs}")
        batches = Batches(
            x=x,
            y=y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            steps_per_epoch=steps,
            shuffle=False,
            steps_per_execution=self.steps_per_execution,
        )
        logs = self._evaluate(batches, callbacks, verbose)
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def _evaluate(self, batches: Batches, callbacks: Any, verbose: str | int = 0) -> dict[str, Any]:
        self._symbolic_build(iterator=batches)
        batches.reset()
        callbacks = self._callbacks(callbacks, verbose, batches)
        run = self.make_test_function()
        self.stop_evaluating = False
        callbacks.on_test_begin()
        logs: Any = {}
        self.reset_metrics()
        groups = self._groups("test")
        with batches.catch_stop_iteration():
            for begin, end, data in batches:
                callbacks.on_test_batch_begin(begin)
                logs = run(groups, data)
                callbacks.on_test_batch_end(end, logs)
                if self.stop_evaluating:
                    break
        found: dict[str, Any] = pythonify_logs(self._get_metrics_result_or_logs(logs))
        callbacks.on_test_end(found)
        return found

    @traceback_utils.filter_traceback  # type: ignore[untyped-decorator]
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for all of `x`: see `keras.Model.predict`."""
        batches = Batches(
            x=x,
            batch_size=batch_size,
            steps_per_epoch=steps,
            shuffle=False,
            steps_per_execution=self.steps_per_execution,
        )
        if not all(layer.built for layer in self._flatten_layers()):
            for _, _, data in batches:
                self._build_for(data_adapter_utils.unpack_x_y_sample_weight(data[0])[0])
                break
            batches.reset()
        callbacks = self._callbacks(callbacks, verbose, batches)
        run = self.make_predict_function()
        self.stop_predicting = False
        callbacks.on_predict_begin()
        groups = self._groups("predict")
        outputs: list[Any] = []
        with batches.catch_stop_iteration():
            for begin, end, data in batches:
                callbacks.on_predict_batch_begin(begin)
                outputs.append(run(groups, data))
                callbacks.on_predict_batch_end(end, {"outputs": outputs[-1]})
                if self.stop_predicting:
                    break
        callbacks.on_predict_end()
        return tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)

    def _build_for(self, x: Any) -> None:
        """Build layers that are not built, without computing anything."""
        with StatelessScope():
            self(x)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step of training: see `keras.Model.train_on_batch`."""
        self._assert_compile_called("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Arguments `sample_weight` and `class_weight` cannot be specified at the same time. "
                    f"Received: sample_weight={sample_weight}, class_weight={class_weight}"
                )
            sample_weight = data_adapter_utils.class_weight_to_sample_weights(y, class_weight)
        data = (x, y, sample_weight)
        self._symbolic_build(data_batch=data)
        self.reset_metrics()
        return self._logs(self.make_train_function()(self._groups("train"), [data]), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """One step of evaluation: see `keras.Model.test_on_batch`."""
        self._assert_compile_called("test_on_batch")
        data = (x, y, sample_weight)
        self._symbolic_build(data_batch=data)
        self.reset_metrics()
        return self._logs(self.make_test_function()(self._groups("test"), [data]), return_dict)

    def _logs(self, logs: Any, return_dict: bool) -> Any:
        found = pythonify_logs(logs)
        return found if return_dict else self._flatten_metrics_in_order(found)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch: see `keras.Model.predict_on_batch`."""
        if not all(layer.built for layer in self._flatten_layers()):
            self._build_for(x)
        return self.make_predict_function()(self._groups("predict"), [(x,)])
