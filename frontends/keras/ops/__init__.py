"""What Keras's ops are made of: functions of eager tensors, which are NumPy arrays, and of traced ones."""
