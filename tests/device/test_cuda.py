"""What belongs to CUDA devices: names, memory, sharing, errors, copies between devices. On `--device cuda` or `cuda-host`."""

import numpy as np
import pytest

import pydiff as pd
from pydiff import _C, cuda, nn, optim

pytestmark = pytest.mark.smoke


@pytest.fixture(autouse=True)
def needs_cuda(device):
    if not device.startswith("cuda"):
        pytest.skip("of CUDA devices: --device cuda-host")


def test_tensors_live_on_the_device():
    x = pd.zeros(3)
    assert x.device == pd.device("cuda:0") == "cuda" and str(x.device) == "cuda:0"
    assert (x + 1).sum().item() == 3 and x.cpu().device == pd.device("cpu")
    assert cuda.is_available() and cuda.device_count() >= 1
    assert cuda.get_device_name() == cuda.get_device_properties(0)["name"]
    assert cuda.get_device_capability() >= (7, 5)


def test_there_and_back_with_gradients(rng):
    data = rng.standard_normal((5, 7))
    x = pd.tensor(data, device="cpu", requires_grad=True)
    y = (x.to("cuda") * 2).tanh().to("cpu")
    y.sum().backward()
    assert x.grad.device == pd.device("cpu")
    np.testing.assert_allclose(x.grad.numpy(), 2 * (1 - np.tanh(2 * data) ** 2), rtol=1e-12)


def test_two_devices_in_one_operation():
    with pytest.raises(ValueError, match=r"different devices; got (cpu and cuda:0|cuda:0 and cpu); try"):
        pd.zeros(3) + pd.zeros(3, device="cpu")


def test_a_device_that_is_not_there():
    with pytest.raises(RuntimeError, match=r"no such device; got cuda:15 of \d+; try"):
        pd.zeros(1, device="cuda:15")


def test_memory_is_counted_and_given_back():
    cuda.synchronize()
    before = cuda.memory_allocated()
    x = pd.zeros(1 << 20) + 1
    cuda.synchronize()
    assert cuda.memory_allocated() - before >= 4 << 20
    cuda.reset_peak_memory_stats()
    y = (x * 2).numpy()
    assert cuda.max_memory_allocated() - before >= 8 << 20 and y[0] == 2
    del x
    assert cuda.memory_allocated() - before < 1 << 20
    cuda.empty_cache()
    assert cuda.memory_reserved() >= cuda.memory_allocated()


def test_dlpack_shares_memory():
    x = pd.arange(12, dtype=pd.float32).reshape(3, 4)
    assert x.__dlpack_device__() == (2, 0)
    y = pd.from_dlpack(x)
    at = x.__cuda_array_interface__["data"][0]
    assert y.device == x.device and y.__cuda_array_interface__["data"][0] == at
    del x
    assert y.sum().item() == 66
    legacy = pd.from_dlpack(y.__dlpack__())  # cannot say "read-only", so it is a copy
    assert legacy.__cuda_array_interface__["data"][0] != at and legacy.tolist() == y.tolist()
    assert pd.from_dlpack(y.__dlpack__(stream=2, max_version=(1, 0))).tolist() == y.tolist()


def test_cuda_array_interface():
    x = pd.zeros(2, 3, dtype=pd.int64) + 1
    face = x.__cuda_array_interface__
    assert face["shape"] == (2, 3) and face["typestr"] == "<i8" and face["strides"] is None
    assert face["version"] == 3 and face["stream"] == 1 and face["data"][0] % 16 == 0
    assert pd.zeros(0).__cuda_array_interface__["data"][0] == 0
    assert not hasattr(pd.zeros(2, device="cpu"), "__cuda_array_interface__")
    with pytest.raises(RuntimeError, match="requires grad"):
        pd.zeros(2, requires_grad=True).__cuda_array_interface__


def test_memory_that_is_not_aligned():
    """A slice of another library's array begins where no vector does; the result is the same."""
    x = pd.arange(9, dtype=pd.float32)
    y = pd.from_dlpack(Shifted(x))
    assert (y * 2 + 1).tolist() == [2.0 * k + 1 for k in range(1, 9)]
    assert y.softmax(0).sum().item() == pytest.approx(1)


class Shifted:
    """A tensor's memory from its second element on."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, **options):
        import ctypes

        get = ctypes.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        capsule = self.tensor.__dlpack__(max_version=(1, 0))
        managed = get(capsule, b"dltensor_versioned")
        # version, context, deleter, flags; then the tensor: data, device, ndim, dtype, shape, strides, byte_offset
        tensor = managed + 32
        shape = ctypes.c_void_p.from_address(tensor + 24).value
        ctypes.c_int64.from_address(shape).value -= 1
        ctypes.c_uint64.from_address(tensor + 40).value = 4
        return capsule


@pytest.mark.parametrize("index", [7, -6])
def test_an_index_out_of_range_names_its_line(index):
    with pytest.raises(IndexError, match=rf"got {index} for an axis of size 5; try .*; recorded at .*test_cuda.py:\d+"):
        pd.zeros(5)[pd.tensor([0, index])].numpy()
    assert (pd.zeros(5) + 1).sum().item() == 5


def test_a_kernel_that_does_not_compile():
    image, log = _C.cuda_compile("PD_KERNEL wrong() { int x = nothing; }", "sm_90a")
    assert not image and "nothing" in log


def test_integer_products(rng):
    for dtype in ("int32", "int64"):
        a, b = (rng.integers(-(2**20), 2**20, s).astype(dtype) for s in ((3, 70, 33), (3, 33, 40)))
        np.testing.assert_array_equal((pd.tensor(a) @ pd.tensor(b)).numpy(), a @ b)
        np.testing.assert_array_equal((pd.tensor(a).mT @ pd.tensor(a)).numpy(), a.swapaxes(1, 2) @ a)


def test_training_as_on_the_cpu(rng):
    x, y = rng.standard_normal((64, 8)).astype("f"), rng.integers(0, 3, 64)

    def train(device):
        pd.manual_seed(3)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 3)).to(device)
        optimizer = optim.AdamW(model.parameters(), lr=0.02)
        inputs, targets = pd.tensor(x, device=device), pd.tensor(y, device=device)
        losses = []
        for _ in range(30):
            loss = nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    there, here = train("cuda"), train("cpu")
    np.testing.assert_allclose(there, here, rtol=1e-3)
    assert there[-1] < 0.7 * there[0]


def test_a_plan_is_replayed():
    def f(x):
        return (x * 2 + 1).softmax(0)

    f(pd.zeros(10)).numpy()
    before = _C.exec_stats()["plans"]
    for _ in range(5):
        f(pd.zeros(10)).numpy()
    assert _C.exec_stats()["plans"] == before


def test_the_stand_in_is_chosen_once():
    cuda.use_host() if cuda.get_device_name() == "CUDA host stand-in" else None
    if cuda.get_device_name() != "CUDA host stand-in":
        with pytest.raises(RuntimeError, match="another driver is in use"):
            pd.device("cuda-host")


@pytest.mark.parametrize("count", [1, 2, 40, 101])
def test_one_update_of_all_parameters_is_few_launches(count, rng, device):
    """Parameters of all sizes, in the bits of updates one by one on the CPU."""
    sizes = [int(rng.integers(0, 300)) if k % 7 else 1 for k in range(count)]
    data = [rng.standard_normal((2, n)).astype("f") for n in sizes]

    def updated(device):
        parameters = [pd.tensor(d[0], device=device, requires_grad=True) for d in data]
        optimizer = optim.Adam(parameters, lr=0.01, weight_decay=0.1)
        for _ in range(3):
            for p, d in zip(parameters, data):
                p.grad = pd.tensor(d[1], device=device)
            optimizer.step()
        return [p.detach().numpy() for p in parameters]

    for there, here in zip(updated("cuda"), updated("cpu")):
        np.testing.assert_array_equal(there, here)


def scaled(x):
    """A long row with values that are dear: they wait in memory between the stages."""
    a = x.exp()
    c = (a / a.sum(1, keepdim=True)).sin()
    d = (c - c.mean(1, keepdim=True)).tanh()
    return d / d.amax(1, keepdim=True) + a


def many_means(x):
    return x - sum((x * (k + 1)).mean(0, keepdim=True) for k in range(30))


def chained_means(x):
    for k in range(12):
        x = x - (x * (k + 1)).mean(0, keepdim=True) * 0.1
    return x


def many_operands(x):
    return sum(pd._C._pad(x[k : k + 3], [1, k % 3], [0, 1], 1.5)[:, :4] for k in range(100))


def padded_number(x):
    return pd._C._pad(pd.full((x.shape[0] - 1, 1), 2.0, dtype=x.dtype, device=x.device), [1, 0], [0, 0], 0.5) + x


EDGES = {
    "spills": (scaled, (3, 9000)), "spills to device memory": (scaled, (2, 16384)), "many sums": (many_means, (2000, 33)),
    "many sums, split": (many_means, (20000, 3)), "stages": (chained_means, (2000, 33)),
    "parameters by address": (many_operands, (120, 4)), "a number with a border": (padded_number, (7, 9)),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_edges_of_the_forms(name, rng):
    """Kernels with much of something, in the bits of the CPU."""
    f, shape = EDGES[name]
    data = rng.uniform(-1, 1, shape)
    there, here = f(pd.tensor(data)), f(pd.tensor(data, device="cpu"))
    np.testing.assert_array_equal(there.numpy(), here.numpy())
