"""pydiff, PyTorch and CuPy behind the few calls that the workloads need."""

import numpy as np

import pydiff

try:  # before pydiff opens cuBLAS: both then use the one that PyTorch brings
    import torch
except ImportError:
    torch = None


class Pydiff:
    """pydiff on the device under test, or on the CPU, which is the reference."""

    label, compiles = "pydiff", False

    def __init__(self, device):
        self.device, self.module = pydiff.device(device), pydiff
        self.functional = pydiff.nn.functional

    def tensor(self, array, grad=False):
        t = pydiff.tensor(array, device=self.device)
        return t.requires_grad_() if grad else t

    def bfloat16(self, t):
        return t.to(pydiff.bfloat16)

    def place(self, model):
        return model.to(self.device)

    def compiled(self, function):
        return function

    def done(self, tensors):
        """Compute them, without waiting and without reading them."""
        pydiff._C.evaluate(list(tensors))

    def wait(self):
        if self.device.type == "cuda":
            pydiff.cuda.synchronize(self.device)

    def numpy(self, t):
        return t.detach().to(pydiff.float32).numpy()


class Torch:
    """PyTorch, eager or compiled. Beside the stand-in it runs on the CPU, so that this code is tried too."""

    def __init__(self, device, compiles=False):
        self.device = "cpu" if device == "cuda-host" else device
        self.module, self.functional, self.compiles = torch, torch.nn.functional, compiles
        self.label = "torch.compile" if compiles else "PyTorch eager"

    def tensor(self, array, grad=False):
        return torch.tensor(array, device=self.device, requires_grad=grad)

    def bfloat16(self, t):
        return t.to(torch.bfloat16)

    def place(self, model):
        return model.to(self.device)

    def compiled(self, function):
        return torch.compile(function) if self.compiles else function

    def done(self, tensors):
        pass

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def numpy(self, t):
        return t.detach().float().cpu().numpy()


class Cupy:
    """CuPy; only arrays, no derivatives."""

    label, compiles = "CuPy", False

    def __init__(self):
        import cupy

        cupy.cuda.runtime.getDeviceCount()  # an error where it sees no GPU
        self.module = cupy

    def tensor(self, array, grad=False):
        return self.module.asarray(array)

    def compiled(self, function):
        return function

    def done(self, tensors):
        pass

    def wait(self):
        self.module.cuda.Device().synchronize()

    def numpy(self, t):
        return self.module.asnumpy(t).astype(np.float32)


def find(device, compiles):
    """The libraries to time, pydiff first: label -> library. `compiles`: pydiff and torch.compile only."""
    found = [Pydiff(device)]
    if torch and (device == "cuda-host" or torch.cuda.is_available()):
        found.append(Torch(device, compiles))
    if device != "cuda-host" and not compiles:
        try:
            found.append(Cupy())
        except Exception:  # whatever CuPy says where it does not work: then it is not a peer
            pass
    return {library.label: library for library in found}


def versions():
    """name -> version of what was found."""
    found = {"pydiff": pydiff.__version__, "numpy": np.__version__}
    if torch:
        found |= {"torch": torch.__version__, "torch's CUDA": torch.version.cuda}
    try:
        found["cupy"] = Cupy().module.__version__
    except Exception:
        pass
    return found


def free():
    """Give back what the libraries keep, between two workloads."""
    if pydiff.cuda.is_available():
        pydiff.cuda.empty_cache()
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        Cupy().module.get_default_memory_pool().free_all_blocks()
    except Exception:
        pass
