"""Benchmarks: pydiff beside NumPy and, where installed, PyTorch and JAX; see ``python -m benchmarks --help``."""
