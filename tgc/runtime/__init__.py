"""Compiling, caching and running programs."""
