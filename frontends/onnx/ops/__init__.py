"""The rules of ONNX's operators, by subject."""
