"""."""

from keras.src.trainers.trainer import Trainer as KerasTrainer


class Trainer(KerasTrainer):  # type: ignore[misc]
    """."""
