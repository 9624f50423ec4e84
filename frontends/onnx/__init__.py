"""ONNX models on tgc: imported, run, trained and exported."""
