"""CuPy in pydiff's memory: its allocator takes blocks from the pool of which pydiff's tensors are made.

Blocks are taken and given back in the order of CuPy's current stream, as CuPy's own pools do it, so what one frees the
other gets without a wait. They count in `pydiff.cuda.memory_allocated`.
"""

from .. import _C

#: What a thread's own default stream is called; a block may be freed on another thread, where that is another stream.
PER_THREAD = 2


class Blocks:
    """The two functions of `cupy.cuda.PythonFunctionAllocator`."""

    def __init__(self, current_stream):
        self.current_stream = current_stream
        self.live = {}  # address: (bytes, stream), which must live as long

    def malloc(self, size, device_id):
        """The address of a block; a MemoryError with the sizes where there is none."""
        stream = self.current_stream()
        address = _C.cuda_pool_allocate(device_id, size, stream.ptr)
        self.live[address] = size, stream
        return address

    def free(self, address, device_id, give_back=_C.cuda_pool_free):
        """Gives a block back after what its stream was given so far."""
        size, stream = self.live.pop(address)
        # The default stream comes after those of the threads.
        give_back(device_id, address, size, 0 if stream.ptr == PER_THREAD else stream.ptr)


_wish = None  # what the user said; None: nothing yet
_ours = None  # the allocator that CuPy was given


def _in_use(cupy):
    return _ours is not None and cupy.cuda.get_allocator() == _ours.malloc


def share(cupy):
    """Gives CuPy pydiff's pool, unless the user said otherwise or chose an allocator; called before a row runs."""
    if _wish is None and not _in_use(cupy) and cupy.cuda.get_allocator() == cupy.get_default_memory_pool().malloc:
        _give(cupy)


def _give(cupy):
    global _ours
    if _ours is None:
        blocks = Blocks(cupy.cuda.get_current_stream)
        _ours = cupy.cuda.PythonFunctionAllocator(blocks.malloc, blocks.free)
    cupy.cuda.set_allocator(_ours.malloc)


def choose(cupy, on):
    """What `pydiff.cuda.share_memory_with_cupy` does."""
    global _wish
    _wish = bool(on)
    if on:
        _give(cupy)
    elif _in_use(cupy):
        cupy.cuda.set_allocator(cupy.get_default_memory_pool().malloc)
    return _in_use(cupy)
