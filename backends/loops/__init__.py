"""The loop IR shared by all backends, and the lowering of fused regions to it."""
