"""Tensors of other libraries, as the core asks for them."""

from .ops import from_dlpack


def lent(op, data):
    """The memory of a tensor of another library, or of its copy in the order of the axes; without its tape."""
    try:
        data = data.detach()
        for resolve in ("resolve_conj", "resolve_neg"):  # PyTorch's bits that change what the memory means
            data = getattr(data, resolve, lambda data=data: data)()
        return from_dlpack(data.contiguous())
    except (BufferError, RuntimeError) as error:
        said = str(error).splitlines()[0] if str(error) else "no reason"
        raise TypeError(
            f"[{op}] the other library does not lend the tensor's memory; got {type(data).__name__} ({said}); "
            "try a dense copy on the CPU"
        ) from error
