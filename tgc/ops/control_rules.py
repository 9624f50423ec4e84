"""Gradients of control flow."""

from typing import Any


def scan_gradient(*a: Any, **k: Any) -> Any: ...
def switch_gradient(*a: Any, **k: Any) -> Any: ...
