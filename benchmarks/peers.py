"""The libraries to compare with, None where they are not installed."""

import pydiff

try:
    import torch
except ImportError:
    torch = None
else:
    # As many threads as pydiff uses: each peer has the same part of the machine.
    torch.set_num_threads(pydiff.get_num_threads())

try:
    import jax
except ImportError:
    jax = None
