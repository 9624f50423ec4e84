"""What all layers derive from."""


class Layer:
    """Nothing is added to Keras's layers."""
