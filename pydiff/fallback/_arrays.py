"""Which array module computes a row on a device, and how a tensor becomes its array and a result a tensor again.

On the CPU that is NumPy. On a GPU it is CuPy, which works in the tensors' own memory (DLPack): nothing is copied,
either way. Under the stand-in for CUDA (``device="cuda-host"``) NumPy stands in CuPy's place, through host memory.
"""

import contextlib
import warnings

import numpy as np

from .. import _C
from .._C import from_numpy
from .._streams import current_stream
from ..ops import from_dlpack
from . import _pool

#: The name that the stand-in's devices have (csrc/device/cuda_host/driver.cpp).
STAND_IN = "CUDA host stand-in"


class NumPyArrays:
    """NumPy for tensors of `device`; those that are not on the CPU pass through its memory."""

    name = "NumPy"
    xp = np

    def __init__(self, device=None):
        self.device = device

    def running(self):
        """What surrounds the computation."""
        return contextlib.nullcontext()

    def array(self, tensor):
        """The tensor's value; not to be written to."""
        return tensor.detach().cpu().numpy()

    def tensor(self, result):
        """A tensor on the device of a row's result: an array or a number."""
        return from_numpy(np.array(result, order="C", copy=None)).to(device=self.device)


class CuPyArrays:
    """CuPy for tensors of a CUDA device, in the same memory, on the stream that pydiff uses."""

    name = "CuPy"

    def __init__(self, cupy, device):
        self.xp, self.device = cupy, device

    @contextlib.contextmanager
    def running(self):
        """The device and the stream of the tensors; and singular matrices are errors, as they are in NumPy."""
        from cupyx import errstate

        cuda = self.xp.cuda
        with cuda.Device(self.device.index), _cupy_stream(cuda, self.device.index), errstate(linalg="raise"):
            yield

    def array(self, tensor):
        """The tensor's value; not to be written to, which CuPy does not enforce."""
        return self.xp.from_dlpack(tensor.detach())

    def tensor(self, result):
        """A tensor that shares the memory of a row's result; what is not CuPy's is copied to the device."""
        return from_dlpack(self.xp.asarray(result, order="C"))


def _cupy_stream(cuda, index):
    """pydiff's current stream of a device as CuPy's: it comes after all of pydiff's work, which comes after the row's."""
    handle = _C.cuda_enter_stream(index)
    if not handle:
        return cuda.Stream.null
    if hasattr(cuda.Stream, "from_external"):
        return cuda.Stream.from_external(current_stream(index))
    return cuda.ExternalStream(handle, index)  # CuPy before 14


def arrays_for(device, op):
    """NumPyArrays or CuPyArrays, as `device` (None: the CPU) needs. `op` is named in errors."""
    if device is None or device.type != "cuda" or _C.cuda_properties(device.index)["name"] == STAND_IN:
        return NumPyArrays(device)
    cupy, problem = find_cupy()
    if cupy is None:
        raise RuntimeError(
            f"[{op}] CuPy computes it on a GPU; got {problem}; try pip install 'pydiff-tensor[{cupy_extra()}]', or .cpu()"
        )
    _pool.share(cupy)
    return CuPyArrays(cupy, device)


def find_cupy():
    """(cupy, "") or (None, what is wrong)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of CUDA that is not where CuPy looked first
            import cupy
    except ModuleNotFoundError as error:
        return None, "no CuPy" if error.name == "cupy" else f"a CuPy that does not load ({error})"
    except Exception as error:  # a library of CUDA that is missing or too old raises whatever it likes
        return None, f"a CuPy that does not load ({error})"
    return cupy, ""


def count_cupy_devices(cupy):
    """(number of devices that CuPy sees, why there are none)."""
    try:
        return cupy.cuda.runtime.getDeviceCount(), ""
    except Exception as error:
        return 0, str(error)


def cupy_extra():
    """The extra of pydiff-tensor that fits the driver: CUDA's libraries must not be of a newer major version."""
    driver = dict(_C.cuda_report())["driver"]
    return "cuda12" if driver.startswith("CUDA 12.") else "cuda13"
