"""Code generators for devices, imported as ``tgc.backends``; each is registered in the entry points of that name."""
