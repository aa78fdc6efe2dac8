"""Random programs for tests/fuzz_ops.py: how one is drawn, the operations that it draws from, what NumPy says of each."""
