"""Streams, events and other libraries' streams on the device under test: what a GPU must show too. With CuPy where it works."""

import threading

import numpy as np
import pytest

import pydiff as pd
from pydiff import cuda

pytestmark = pytest.mark.smoke


@pytest.fixture(autouse=True)
def needs_cuda(device):
    if not device.startswith("cuda"):
        pytest.skip("of CUDA devices: --device cuda-host")


@pytest.fixture
def cupy():
    if cuda.get_device_name() == "CUDA host stand-in":
        pytest.skip("CuPy needs a GPU")
    return pytest.importorskip("cupy", exc_type=ImportError)


def test_streams_give_the_same_values(rng):
    data = rng.standard_normal((200, 300)).astype("f")
    streams = [cuda.Stream(), cuda.default_stream(), cuda.Stream()]
    x, y = pd.tensor(data), pd.tensor(data, device="cpu")
    for step in range(30):
        with cuda.stream(streams[step % 3]):
            x = (x + step).tanh() - x.mean(0, keepdim=True)
            pd._C.evaluate([x])
        y = (y + step).tanh() - y.mean(0, keepdim=True)
    np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_time_between_events():
    begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    x = pd.ones(1000)
    begin.record()
    y = x * 2
    end.record()
    end.synchronize()
    assert end.query() and begin.elapsed_time(end) > 0 and y.sum().item() == 2000


def test_copies_of_memory_that_is_written_again(rng):
    tensors, copies = [], []
    for n in (10, 3 << 20, 100_000) * 4:
        data = rng.integers(0, 1 << 30, n)
        tensors.append(pd.tensor(data))
        copies.append(data.copy())
        data[:] = -1
    for t, c in zip(tensors, copies):
        np.testing.assert_array_equal(t.numpy(), c)


def test_threads_have_streams_of_their_own():
    results = {}

    def work(k):
        with cuda.stream(cuda.Stream()):
            x = pd.full((1000,), float(k))
            for _ in range(20):
                x = x + 1
                pd._C.evaluate([x])
        results[k] = x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert [results[k].mean().item() for k in range(4)] == [20, 21, 22, 23]
    assert cuda.current_stream() == cuda.default_stream()


def test_between_devices(rng):
    if cuda.device_count() < 2:
        pytest.skip("one device")
    data = rng.standard_normal(100_000).astype("f")
    x = (pd.tensor(data, device="cuda:0") * 2).to("cuda:1")
    with cuda.device(1):
        assert pd.zeros(1, device="cuda").device == x.device
        y = (x + 1).to("cuda:0")
    np.testing.assert_array_equal(y.numpy(), data * 2 + 1)


def test_indices_are_checked_without_waiting():
    table = pd.arange(5)
    good, bad = table[pd.tensor([4, 0])], table[pd.tensor([1, 5])]
    pd._C.evaluate([good, bad])
    with pytest.raises(IndexError, match="got 5 for an axis of size 5"):
        cuda.synchronize()
    with pytest.raises(IndexError, match="got 5 for an axis of size 5"):
        bad.tolist()


def test_cupy_stream(cupy, rng):
    data = rng.standard_normal(1 << 20).astype("f")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        array = cupy.asarray(data) * 2
    with cuda.stream(stream):
        x = pd.from_dlpack(array) + 1
        assert cuda.current_stream().cuda_stream == stream.ptr
        pd._C.evaluate([x])
    np.testing.assert_array_equal(x.numpy(), data * 2 + 1)
    back = cupy.from_dlpack(x)
    np.testing.assert_array_equal(cupy.asnumpy(back), data * 2 + 1)


def test_cupy_device(cupy):
    with cupy.cuda.Device(cuda.device_count() - 1):
        assert cuda.current_device() == cuda.device_count() - 1
    with cuda.device(0):
        assert cupy.cuda.Device().id == 0


def test_cupy_shares_the_pool(cupy):
    assert cuda.share_memory_with_cupy() is True
    cuda.synchronize()
    before = cuda.memory_allocated()
    array = cupy.zeros(1 << 20, dtype="f")
    assert cuda.memory_allocated() - before >= 4 << 20
    del array
    assert cuda.memory_allocated() - before < 4 << 20
    assert cuda.share_memory_with_cupy(False) is False
