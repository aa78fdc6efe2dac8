"""Streams, events, several devices and copies, on the stand-in with streams that are late (PYDIFF_CUDA_HOST_STREAMS=late).

Work is done there when somebody waits for it, with only what it waits for: an order that nobody asked for does not happen.
"""

import pytest

from late_streams import run

pytest.importorskip("pydiff")


def test_streams_of_the_stand_in_are_late():
    """Two streams without an event: the second does not see what the first was given. With one it does."""
    run("""
    x = pd.ones(4, device="cuda") * 3
    x.sum().item()
    a, b = Foreign().handle, Foreign().handle
    at = x.__cuda_array_interface__["data"][0]
    call("cuMemsetD32Async", at, ctypes.c_uint(0), 4, ctypes.c_void_p(a))
    assert seen(b, at, 4).tolist() == [3] * 4
    event = ctypes.c_void_p()
    call("cuEventCreate", ctypes.byref(event), 0)
    call("cuEventRecord", event, ctypes.c_void_p(a))
    assert lib.cuEventQuery(event) == 600
    call("cuStreamWaitEvent", ctypes.c_void_p(b), event, 0)
    assert seen(b, at, 4).tolist() == [0] * 4
    assert lib.cuEventQuery(event) == 0
    """)


def test_work_on_all_streams_is_in_one_order():
    """Values go from stream to stream, and memory that is freed on one is used on the other."""
    run("""
    streams = [cuda.Stream() for _ in range(3)] + [cuda.default_stream(), cuda.ExternalStream(Foreign())]
    rng = np.random.default_rng(1)
    data = rng.standard_normal((40, 30)).astype("f")
    x, expected = pd.tensor(data, device="cuda"), data.copy()
    for step in range(60):
        with cuda.stream(streams[rng.integers(5)]):
            x = (x * 2 + 1).tanh() if step % 3 else x @ x.mT @ x * 0.01
            pd._C.evaluate([x])
            scratch = x + step  # freed on whatever stream comes next
            pd._C.evaluate([scratch])
            del scratch
    y = pd.tensor(data)
    for step in range(60):
        y = (y * 2 + 1).tanh() if step % 3 else y @ y.mT @ y * 0.01
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-4, atol=1e-6)
    """)


def test_the_current_stream_and_device():
    run("""
    assert cuda.current_device() == 0 and cuda.current_stream() == cuda.default_stream()
    assert cuda.current_stream().cuda_stream == 0
    s, t = cuda.Stream(), cuda.Stream("cuda:1")
    assert s.device == pd.device("cuda:0") and t.device == pd.device("cuda:1") and s != t
    with cuda.stream(s) as entered:
        assert entered is s and cuda.current_stream() is s
        with cuda.stream(t):
            assert cuda.current_device() == 1 and cuda.current_stream() is t and cuda.current_stream(0) is s
            assert pd.zeros(1, device="cuda").device == pd.device("cuda:1") == pd.device("cuda")
        with cuda.stream(None):
            assert cuda.current_stream() is s
        assert cuda.current_device() == 0
        with pytest.raises(ZeroDivisionError), cuda.stream(cuda.Stream()):
            1 / 0
        assert cuda.current_stream() is s
    assert cuda.current_stream() == cuda.default_stream()
    cuda.set_stream(s)
    assert cuda.current_stream() is s
    cuda.set_stream(cuda.default_stream())

    with cuda.device(1):
        assert cuda.current_device() == 1 and pd.ones(2).to("cuda").device.index == 1
        assert cuda.memory_allocated() == cuda.memory_allocated(1) and cuda.get_device_name()
    with cuda.device(None), cuda.device("cuda:0"):
        assert cuda.current_device() == 0
    cuda.set_device(1)
    device = ctypes.c_int(-1)
    call("cuCtxGetDevice", ctypes.byref(device))
    assert device.value == 1  # what CuPy and PyTorch see
    context = ctypes.c_void_p()
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
    call("cuCtxSetCurrent", context)  # and what they choose
    assert cuda.current_device() == 0 and pd.zeros(1, device="cuda").device.index == 0
    pd.set_default_device("cuda")
    with cuda.device(1):
        assert pd.zeros(1).device.index == 1 and pd.get_default_device().index == 1
    assert pd.zeros(1).device.index == 0
    pd.set_default_device("cuda:1")
    assert pd.zeros(1).device.index == 1
    with pytest.raises(RuntimeError, match="no such device; got cuda:5 of 2"):
        cuda.set_device(5)
    with pytest.raises(ValueError, match="not a CUDA device; got 'cpu'"):
        cuda.current_stream("cpu")
    """)


def test_each_thread_has_its_own():
    """A thread that works on device 1 leaves "cuda" alone, for itself and for others; values pass between threads."""
    run("""
    made, failed = [], []
    def work(k):
        try:
            (pd.ones(3, device="cuda:1") * 2).numpy()
            assert cuda.current_device() == 0 and cuda.current_stream() == cuda.default_stream()
            s = cuda.Stream()
            with cuda.stream(s):
                for _ in range(20):
                    x = pd.full((100,), float(k), device="cuda") + sum(m for m in made[-2:])
                    pd._C.evaluate([x])
                    assert cuda.current_stream() is s
            made.append(x * 0 + k)
            pd._C.evaluate([made[-1]])
        except BaseException as error:
            failed.append(error)
            raise
    s = cuda.Stream()
    with cuda.stream(s):
        threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert cuda.current_stream() is s
    assert not failed and sorted(float(m[0]) for m in made) == [0, 1, 2, 3, 4, 5]
    """)


def test_events():
    run("""
    e = cuda.Event(enable_timing=True)
    assert e.query() and e.device is None and e.cuda_event == 0
    e.synchronize()
    e.record()
    x = pd.ones(1000, device="cuda") * 2
    f = cuda.Event(enable_timing=True, blocking=True)
    f.record()                       # computes x first
    assert pd._C.state_of(x) == "ready" and not f.query()
    with pytest.raises(RuntimeError, match="the work is not done"):
        e.elapsed_time(f)
    f.synchronize()
    assert f.query() and e.query() and 0 < e.elapsed_time(f) < 60000
    with pytest.raises(RuntimeError, match=r"does not measure time; got Event\\(\\); try"):
        e.elapsed_time(cuda.Event())
    with pytest.raises(RuntimeError, match="was not recorded"):
        e.elapsed_time(cuda.Event(enable_timing=True))
    with pytest.raises(RuntimeError, match="belongs to one device; got a stream of cuda:1"):
        e.record(cuda.Stream(1))
    g = cuda.Event(enable_timing=True)
    g.record(cuda.default_stream(1))
    g.synchronize()
    with pytest.raises(RuntimeError, match="events of different devices; got cuda:0 and cuda:1"):
        e.elapsed_time(g)
    # An event covers pydiff's work on every stream, whichever it is recorded on.
    foreign = Foreign()
    y = x + 1
    face = y.__cuda_array_interface__
    e.record(foreign)
    assert seen(foreign.handle, face["data"][0], 2).tolist() == [3, 3]
    # Another library's work comes first where the current stream waits for its event.
    call("cuMemsetD32Async", face["data"][0], ctypes.c_uint(0), 1000, ctypes.c_void_p(foreign.handle))
    assert (y + 0).tolist()[:2] == [3, 3]
    cuda.current_stream().wait_stream(foreign)
    with cuda.stream(cuda.Stream()):
        assert (y + 0).tolist()[:2] == [0, 0]
    assert not cuda.Stream().wait_event(cuda.Event()) and cuda.Stream().query()
    s = cuda.Stream()
    z = y + 5
    assert s.record_event().device == s.device and pd._C.state_of(z) == "ready"
    s.synchronize()
    assert s.query() and cuda.default_stream().query()
    """)


def test_streams_of_other_libraries():
    run("""
    foreign = Foreign()
    with cuda.stream(foreign) as s:
        assert s.cuda_stream == foreign.handle and cuda.current_stream() is s and s.__cuda_stream__() == (0, foreign.handle)
        x = pd.arange(5, device="cuda", dtype=pd.float32) + 1
        face = x.__cuda_array_interface__
        assert face["stream"] == foreign.handle
        assert seen(foreign.handle, face["data"][0], 5).tolist() == [1, 2, 3, 4, 5]
    assert x.__cuda_array_interface__["stream"] == 1
    call("cuStreamDestroy_v2", ctypes.c_void_p(foreign.handle))   # it is left: nobody asks it any more
    assert (x * 2).tolist() == [2, 4, 6, 8, 10]
    s = cuda.Stream()
    with cuda.stream(s):
        y = x * 3
        pd._C.evaluate([y])
    worker = threading.Thread(target=lambda: (cuda.set_stream(s), pd._C.evaluate([y + 1])))
    worker.start(), worker.join()
    del s, worker
    gc.collect()
    assert y.tolist() == [3, 6, 9, 12, 15]

    other = Foreign(device=1)
    assert cuda.ExternalStream(other).device.index == 1 == cuda.ExternalStream(other.handle).device.index
    with pytest.raises(RuntimeError, match="belongs to another device; got cuda:1 for 0; try device=1"):
        cuda.ExternalStream(other, device=0)
    class Property:
        __cuda_stream__ = (0, 1)
    assert cuda.ExternalStream(Property()) == cuda.default_stream()
    class Newer:
        def __cuda_stream__(self):
            return 1, 0
    with pytest.raises(RuntimeError, match="unknown version of __cuda_stream__; got 1"):
        cuda.ExternalStream(Newer())
    with pytest.raises(ValueError, match="per-thread default stream is another one on each thread"):
        cuda.ExternalStream(2)
    with pytest.raises(TypeError, match=r"\\[stream\\] not a stream; got int; try pydiff.cuda.ExternalStream"):
        cuda.stream(7)
    assert "Stream 0x" in repr(cuda.Stream()) and hash(cuda.default_stream()) == hash(cuda.default_stream())
    """)


def test_dlpack_follows_the_streams():
    run("""
    foreign = Foreign()
    s = cuda.Stream()
    with cuda.stream(s):
        x = pd.arange(4, device="cuda", dtype=pd.float32) * 2
        at = x.__cuda_array_interface__["data"][0]
        x.__dlpack__(stream=-1, max_version=(1, 0))
        assert seen(foreign.handle, at, 4).tolist() != [0, 2, 4, 6]   # nobody asked for an order
        x.__dlpack__(stream=foreign.handle, max_version=(1, 0))
        assert seen(foreign.handle, at, 4).tolist() == [0, 2, 4, 6]
        for stream in ({}, {"stream": 1}, {"stream": 2}):
            y = x + 1
            y.__dlpack__(max_version=(1, 0), **stream)
            assert seen(0, y.__cuda_array_interface__["data"][0], 4).tolist() == [1, 3, 5, 7]

        class Exporter:
            def __dlpack_device__(self):
                return 2, 0
            def __dlpack__(self, stream=None, **options):
                self.asked = stream
                # Its own work, on a stream of its own, for which the consumer's waits.
                call("cuMemsetD32Async", at, ctypes.c_uint(0x40000000), 4, ctypes.c_void_p(foreign.handle))
                cuda.ExternalStream(stream).wait_stream(foreign)
                return x.__dlpack__(stream=-1, **options)
        exporter = Exporter()
        z = pd.from_dlpack(exporter)
        assert exporter.asked == s.cuda_stream
    assert z.tolist() == [2, 2, 2, 2]   # on the default stream now
    """)


def test_copies_to_a_device_do_not_wait():
    """An array may be written again at once; sizes within a chunk of page-locked memory, and beyond all of them."""
    run("""
    rng = np.random.default_rng(0)
    tensors, copies = [], []
    for n in [1, 3, 1000, 1 << 20, (1 << 20) + 1, 7, 6 << 20, 0, 300_000] * 2:
        data = rng.integers(0, 1 << 30, n).astype(np.int32)
        tensors.append(pd.tensor(data, device="cuda"))
        copies.append(data.copy())
        data[:] = -1
        here = pd.tensor(copies[-1])
        tensors.append(here.to("cuda", non_blocking=True))
        copies.append(copies[-1])
        del here
    for t, c in zip(tensors, copies):
        np.testing.assert_array_equal(t.numpy(), c)
        np.testing.assert_array_equal(t.to("cpu", non_blocking=True).numpy(), c)
    e = cuda.Event()
    x = pd.tensor([1.0, 2.0], device="cuda")
    e.record()
    assert not e.query()
    numbers = [pd.tensor(float(k), device="cuda") for k in range(100)]
    assert [float(v) for v in numbers] == list(range(100))
    """)


@pytest.mark.parametrize("peers", ["on", "off"])
def test_copies_between_devices(peers):
    run(
        """
    data = np.random.default_rng(3).standard_normal((50, 60)).astype("f")
    x = pd.tensor(data, device="cuda:0", requires_grad=True)
    with cuda.stream(cuda.Stream(0)), cuda.stream(cuda.Stream(1)):
        y = (x * 3).to("cuda:1")
        assert y.device == pd.device("cuda:1")
        z = (y * 2 + 1).to("cuda:0")
        del y
        for _ in range(5):   # memory that was the copy's source is used again
            junk = pd.full((50, 60), -1.0, device="cuda:1") * 1
            pd._C.evaluate([junk])
            del junk
    np.testing.assert_array_equal(z.detach().numpy(), np.float32(3) * data * 2 + 1)
    z.sum().backward()
    assert x.grad.device == pd.device("cuda:0") and np.all(x.grad.numpy() == 6)
    assert pd.zeros(0, device="cuda:1").to("cuda:0").shape == (0,)
    m = pd.nn.Linear(3, 2).to("cuda:1")
    assert m.weight.device.index == 1 and m(pd.ones(1, 3, device="cuda:1")).shape == (1, 2)
    with pytest.raises(ValueError, match="different devices; got cuda:[01] and cuda:[01]"):
        x + pd.ones(50, 60, device="cuda:1")
    with pytest.raises(RuntimeError, match="no such device; got cuda:2 of 2"):
        x.to("cuda:2")
    """,
        PYDIFF_CUDA_HOST_PEERS=peers,
    )


def test_a_peer_copy_of_the_wrong_device_is_refused():
    said = run("""
    x, y = pd.ones(4, device="cuda:0") * 2, pd.ones(4, device="cuda:1") * 3
    pd._C.evaluate([x]), pd._C.evaluate([y])
    contexts = [ctypes.c_void_p(), ctypes.c_void_p()]
    for k, c in enumerate(contexts):
        call("cuDevicePrimaryCtxRetain", ctypes.byref(c), k)
    to, at = (ctypes.c_size_t(t.__cuda_array_interface__["data"][0]) for t in (x, y))
    size = ctypes.c_size_t(16)
    cuda.synchronize(0), cuda.synchronize(1)
    assert lib.cuMemcpyPeerAsync(to, contexts[1], at, contexts[0], size, None) == 1
    assert lib.cuMemcpyPeerAsync(to, contexts[0], at, contexts[1], size, None) == 0
    assert x.tolist() == [3] * 4
    call("cuCtxSetCurrent", contexts[0])
    x.to("cuda:1"), y.to("cuda:0")
    assert lib.cuCtxEnablePeerAccess(contexts[1], 0) == 704 and lib.cuCtxEnablePeerAccess(contexts[0], 0) == 101
    """)
    assert "is not of the device of its context" in said.stderr


def test_results_depend_on_no_order_unless_allowed():
    run(
        """
    assert pd.deterministic() is True
    index = pd.tensor(np.arange(3000) % 7, device="cuda")
    values = np.random.default_rng(2).standard_normal(3000).astype("f") * 1000
    def summed():
        return pd.zeros(7, device="cuda").scatter_add(0, index, pd.tensor(values, device="cuda")).numpy()
    here = pd.zeros(7).scatter_add(0, index.cpu(), pd.tensor(values)).numpy()
    np.testing.assert_array_equal(summed(), here)
    assert pd.deterministic(False) is True and pd.deterministic() is False
    loose = summed()
    np.testing.assert_allclose(loose, here, rtol=1e-4)
    assert (loose != here).any()   # the order of threads shows
    assert pd.deterministic(True) is False
    np.testing.assert_array_equal(summed(), here)
    assert not hasattr(cuda, "deterministic")
    """,
        PYDIFF_CUDA_HOST_ORDER="shuffle:3",
    )


def test_other_threads_go_on_while_a_device_is_waited_for():
    """The stream sleeps in C; a thread of Python counts meanwhile."""
    run("""
    import time
    count, stop = 0, False
    def counting():
        global count
        while not stop:
            count += 1
            time.sleep(0.001)
    thread = threading.Thread(target=counting)
    thread.start()
    sleep = ctypes.CDLL(None).usleep
    x = pd.ones(3, device="cuda") * 2
    pd._C.evaluate([x])
    event = cuda.Event()
    for wait in (x.numpy, cuda.synchronize, cuda.current_stream().synchronize, lambda: (event.record(), event.synchronize())):
        call("cuLaunchHostFunc", None, sleep, 200_000)
        before = count
        wait()
        assert count - before > 20, (wait, count - before)
    stop = True
    thread.join()
    """)
