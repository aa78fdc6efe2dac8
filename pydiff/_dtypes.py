"""Element types and devices, as Python objects. Made from the core's table."""

from ._C import dtype_facts

_CATEGORIES = ("bool", "integer", "floating", "complex")


class dtype:
    """An element type. There is one object for each; compare with `==` or `is`.

    Attributes: `name`, `itemsize` (bytes), `is_floating_point`, `is_complex`, `is_signed`,
    `has_kernels` (whether pydiff computes in it, or only stores it).

    >>> import pydiff as pd
    >>> pd.float32, pd.float32.itemsize, pd.float32.is_floating_point
    (pydiff.float32, 4, True)
    """

    __slots__ = ("name", "itemsize", "category", "has_kernels")

    def __init__(self, name, itemsize, category, has_kernels):
        self.name = name
        self.itemsize = itemsize
        self.category = _CATEGORIES[category]
        self.has_kernels = has_kernels

    @property
    def is_floating_point(self):
        """Whether it is a real floating-point type."""
        return self.category == "floating"

    @property
    def is_complex(self):
        """Whether it is a complex type."""
        return self.category == "complex"

    @property
    def is_signed(self):
        """Whether it has negative values."""
        return self.category != "bool" and not self.name.startswith("uint")

    @property
    def numpy(self):
        """NumPy's counterpart, an `np.dtype`."""
        from ._C import numpy_dtype

        return numpy_dtype(self)

    def __eq__(self, other):
        if self is other:
            return True
        if isinstance(other, str):
            return other in (self.name, "pydiff." + self.name)
        return NotImplemented

    def __hash__(self):
        return hash(self.name)

    def __repr__(self):
        return "pydiff." + self.name

    def __reduce__(self):
        return _dtype_of, (self.name,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


DTYPES = {facts[0]: dtype(*facts) for facts in dtype_facts()}


def _dtype_of(name):
    return DTYPES[name]


def _current_cuda_device():
    from ._C import cuda_current_device

    return cuda_current_device(False)  # names alone start no driver


_outer_defaults = []  # of the contexts that are open


class device:
    """Where a tensor lives: `device("cpu")`, `device("cuda")`, `device("cuda:1")`, `device("cuda", 1)`.

    Attributes: `type` ('cpu' or 'cuda'), `index` (None for the CPU; of "cuda" that of `pydiff.cuda.current_device()`).
    `device("cuda-host")` puts a stand-in that runs on the CPU into the place of the CUDA driver, for the whole process,
    and is its `cuda:0` (see `pydiff.cuda.use_host`). As a context it is the default device within, for all threads.

    >>> import pydiff as pd
    >>> with pd.device("cpu"):
    ...     pd.ones(2).device
    device(type='cpu')
    >>> pd.device("cuda:1").index, str(pd.zeros(1).device)
    (1, 'cpu')
    """

    __slots__ = ("type", "index")

    def __init__(self, type, index=None):
        if isinstance(type, device):
            type, index = type.type, type.index
        name, colon, number = str(type).partition(":")
        if name == "cuda-host":
            from . import cuda

            cuda.use_host()
            name = "cuda"
        if colon:
            index = int(number) if number.isdigit() and index is None else -1
        if name not in ("cpu", "cuda") or (index is not None and index < 0):
            raise RuntimeError(f"[device] unknown device; got {type!r}; try 'cpu', 'cuda' or 'cuda:0'")
        if name == "cpu":
            index = None
        elif index is None:
            index = 0 if type == "cuda-host" else _current_cuda_device()
        object.__setattr__(self, "type", name)
        object.__setattr__(self, "index", index)

    def __setattr__(self, name, value):
        raise AttributeError(f"[device] a device does not change; got {name} = {value!r}; try another device")

    def __eq__(self, other):
        if isinstance(other, str):
            try:
                other = device(other)
            except RuntimeError:
                return False
        if isinstance(other, device):
            return self.type == other.type and self.index == other.index
        return NotImplemented

    def __hash__(self):
        return hash((self.type, self.index))

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self):
        return f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"

    def __reduce__(self):
        return device, (str(self),)

    def __enter__(self):
        from ._C import default_device_setting, set_default_device

        before = default_device_setting()
        set_default_device(self)
        _outer_defaults.append(before)
        return self

    def __exit__(self, *error):
        from ._C import set_default_device

        set_default_device(_outer_defaults.pop())
