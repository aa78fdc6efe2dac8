"""The stand-in for CUDA that runs on the CPU: kernels, memory, streams and graphs do what CUDA's do."""

import ctypes
import threading
import time

import numpy as np
import pytest

from cuda_host_tools import PRELUDE_LINES, ROW_SUM, SAXPY, f32, i32, library_path, run_apart, shared_cuda


@pytest.fixture(scope="module")
def library():
    return library_path()


@pytest.fixture(scope="module")
def cuda():
    return shared_cuda()


@pytest.fixture(params=["forward", "reverse", "shuffle", "shuffle:7"])
def order(request, monkeypatch):
    monkeypatch.setenv("PYDIFF_CUDA_HOST_ORDER", request.param)
    return request.param


def test_saxpy(cuda, order):
    n = 1000
    x, y = np.arange(n, dtype=np.float32), np.ones(n, np.float32)
    dx, dy = cuda.array(x), cuda.array(y)
    cuda.launch(cuda.kernel(SAXPY, "saxpy"), 8, 128, dx, dy, f32(2.0), i32(n))
    np.testing.assert_array_equal(dy.get(), 2 * x + y)


def test_two_level_row_sum(cuda, order):
    x = np.random.default_rng(0).integers(-50, 50, (17, 1003)).astype(np.float32)
    dx, dy = cuda.array(x), cuda.array(np.zeros(17, np.float32))
    cuda.launch(cuda.kernel(ROW_SUM, "row_sum"), 17, 256, dx, dy, i32(1003))
    np.testing.assert_array_equal(dy.get(), x.sum(1))


@pytest.mark.parametrize(
    "kernel, declaration, name",
    [
        ("PD_KERNEL", "PD_DYNAMIC_SHARED(raw); f32* tile = (f32*)raw;", "of_macro"),
        ("PD_KERNEL", "extern __shared__ __align__(16) float tile[];", "of_cuda"),
        ('extern "C" __global__ void', "extern __shared__ float tile[];", "of_cuda_alone"),
    ],
)
def test_dynamic_shared_memory(cuda, order, kernel, declaration, name):
    text = f"""
{kernel} {name}(f32* x) {{
  {declaration}
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}}
"""
    x = np.arange(100, dtype=np.float32)
    dx = cuda.array(x)
    cuda.launch(cuda.kernel(text, name), 1, 100, dx, shared=400)
    np.testing.assert_array_equal(dx.get(), x[::-1])


def test_dynamic_shared_memory_of_file_scope(cuda):
    text = """
extern __shared__ int words[];
extern "C" __global__ void __launch_bounds__(64) turned(int* x) {
  words[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = words[63 - threadIdx.x];
}
"""
    dx = cuda.array(np.arange(64, dtype=np.int32))
    cuda.launch(cuda.kernel(text, "turned"), 1, 64, dx, shared=256)
    np.testing.assert_array_equal(dx.get(), np.arange(64)[::-1])


def test_more_dynamic_shared_memory_must_be_asked_for(cuda):
    text = "PD_KERNEL large(i32* x) { PD_DYNAMIC_SHARED(p); p[100000 - 1 - threadIdx.x] = 1; x[0] = p[100000 - 1]; }"
    function, dx = cuda.kernel(text, "large"), cuda.array(np.zeros(1, np.int32))
    assert cuda.launch_code(function, 1, 1, [dx], shared=100000) == 1
    cuda.call("cuFuncSetAttribute", function, 8, 100000)
    assert cuda.launch_code(function, 1, 1, [dx], shared=100000) == 0
    assert dx.get()[0] == 1
    assert cuda.code("cuFuncSetAttribute", function, 8, 232449) == 1


def test_shared_memory_is_poisoned_for_each_block(cuda):
    text = """
template <class T> __device__ T* tile() { __shared__ T t[4]; return t; }
PD_KERNEL stale(f32* x) {
  __shared__ f64 own[2];
  PD_DYNAMIC_SHARED(raw);
  f32* dynamic = (f32*)raw;
  x[3 * blockIdx.x] = tile<f32>()[1];
  x[3 * blockIdx.x + 1] = (f32)own[1];
  x[3 * blockIdx.x + 2] = dynamic[0];
  tile<f32>()[1] = 5.0f, own[1] = 5.0, dynamic[0] = 5.0f;
}
"""
    dx = cuda.array(np.zeros(9, np.float32))
    cuda.launch(cuda.kernel(text, "stale"), 3, 1, dx, shared=4)
    assert np.isnan(dx.get()).all()


def test_fresh_memory_is_poisoned(cuda):
    pointer, out = ctypes.c_uint64(), np.zeros(16, np.float32)
    cuda.call("cuMemAllocAsync", ctypes.byref(pointer), 64, None)
    cuda.call("cuMemcpyDtoH_v2", out.ctypes.data, pointer, 64)
    assert np.isnan(out).all() and np.isnan(out.view(np.float64)).all() and np.isnan(out.view(np.float16)).all()


def test_atomics(cuda, order):
    text = """
PD_KERNEL count(i32* n, u32* most, i32* least, f32* sum, f64* sums, u64* bits, u32* tickets) {
  const i32 i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(n, 1);
  atomicMax(most, (u32)i);
  atomicMin(least, -i);
  atomicAdd(sum, 0.5f);
  atomicAdd(sums, 0.25);
  atomicOr(bits, 1ull << (i % 64));
  u32 ticket = atomicAdd(n + 1, 1);
  atomicExch(tickets + ticket, 1u);
  if (atomicCAS(n + 2, 0, i + 1) == 0) n[3] = i + 1;
}
"""
    types = [np.zeros(4, np.int32), *(np.zeros(1, t) for t in "u4 i4 f4 f8 u8".split()), np.zeros(640, np.uint32)]
    arrays = [cuda.array(t) for t in types]
    cuda.launch(cuda.kernel(text, "count"), 5, 128, *arrays)
    n, most, least, total, totals, bits, tickets = (a.get() for a in arrays)
    assert n[0] == n[1] == 640 and n[2] == n[3] != 0
    assert (most[0], least[0], total[0], totals[0], bits[0]) == (639, -639, 320, 160, 2**64 - 1)
    assert (tickets == 1).all()


def test_shuffles_and_votes(cuda, order):
    text = """
PD_KERNEL lanes(i32* out, f64* wide) {
  const i32 t = threadIdx.x, lane = t % 32;
  const u32 half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  i32* o = out + t * 12;
  o[0] = __shfl_sync(PD_ALL, t, 5);
  o[1] = __shfl_up_sync(PD_ALL, t, 3);
  o[2] = __shfl_down_sync(PD_ALL, t, 3);
  o[3] = __shfl_xor_sync(PD_ALL, t, 7);
  o[4] = __shfl_sync(half, t, 2, 16);
  o[5] = __shfl_down_sync(PD_ALL, t, 1, 8);
  o[6] = (i32)__ballot_sync(PD_ALL, t % 3 == 0);
  o[7] = __any_sync(PD_ALL, t == 40);
  o[8] = __all_sync(half, lane < 16);
  o[9] = __syncthreads_count(t % 2);
  o[10] = (i32)__ballot_sync(half, 1);
  __syncwarp();
  o[11] = __syncthreads_or(t == 63) + 2 * __syncthreads_and(t < 63);
  wide[t] = __shfl_xor_sync(PD_ALL, (f64)t + 0.125, 1);
}
"""
    out, wide = cuda.array(np.zeros((64, 12), np.int32)), cuda.array(np.zeros(64))
    cuda.launch(cuda.kernel(text, "lanes"), 1, 64, out, wide)
    t = np.arange(64)
    lane, warp = t % 32, t // 32 * 32
    ballots = [sum(1 << i for i in range(32) if (i + w) % 3 == 0) for w in (0, 32)]
    want = np.stack([
        warp + 5, np.where(lane >= 3, t - 3, t), np.where(lane < 29, t + 3, t), t ^ 7, warp + lane // 16 * 16 + 2,
        np.where(t % 8 < 7, t + 1, t), np.array(ballots, np.uint32).view(np.int32)[t // 32], t >= 32, lane < 16,
        np.full(64, 32), np.where(lane < 16, 0xFFFF, np.int32(-65536)), np.ones(64)], 1)
    np.testing.assert_array_equal(out.get(), want)
    np.testing.assert_array_equal(wide.get(), (t ^ 1) + 0.125)


def test_a_thread_that_has_ended_is_not_waited_for(cuda, order):
    text = """
PD_KERNEL early(i32* x, i32* y, i32 n) {
  const i32 t = threadIdx.x;
  if (t >= n) return;
  x[t] = t;
  __syncthreads();
  y[t] = x[(t + 1) % n];
  __syncwarp();
  if (t >= 32) y[t] += 100 * __any_sync(PD_ALL, t == 33);
}
"""
    dx, dy = (cuda.array(np.zeros(64, np.int32)) for _ in range(2))
    cuda.launch(cuda.kernel(text, "early"), 1, 64, dx, dy, i32(40))
    t = np.arange(64)
    np.testing.assert_array_equal(dy.get(), np.where(t < 40, (t + 1) % 40 + 100 * (t >= 32), 0))


def test_indices_in_three_dimensions(cuda, order):
    text = """
PD_KERNEL where(i32* out) {
  const i32 t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const i32 b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  __syncthreads();
  out[b * blockDim.x * blockDim.y * blockDim.z + t] += 1 + (threadIdx.z == 3 && blockIdx.z == 4);
}
"""
    out = cuda.array(np.zeros((5, 3, 2, 4, 3, 5), np.int32))
    cuda.launch(cuda.kernel(text, "where"), (2, 3, 5), (5, 3, 4), out)
    want = np.ones((5, 3, 2, 4, 3, 5))
    want[4, :, :, 3] = 2
    np.testing.assert_array_equal(out.get(), want)


def test_blocks_run_in_the_order_asked_for(cuda, order):
    text = "PD_KERNEL last(i32* x) { x[0] = blockIdx.x; atomicAdd(x + 1 + blockIdx.x, 1); }"
    dx = cuda.array(np.zeros(101, np.int32))
    cuda.launch(cuda.kernel(text, "last"), 100, 1, dx)
    got = dx.get()
    assert (got[1:] == 1).all()
    assert got[0] == {"forward": 99, "reverse": 0}.get(order, got[0])


def test_structs_vectors_and_bits(cuda):
    text = """
struct Sizes { i64 n; i32 k; f32 scale; };
PD_KERNEL vectors(const f32* x, f32* y, const Sizes s, i32* bits) {
  float4 v = *reinterpret_cast<const float4*>(x + 4 * threadIdx.x);
  float4 w = make_float4(v.w * s.scale, v.z, fmaf(v.y, 2.0f, (f32)s.k), (f32)s.n);
  *reinterpret_cast<float4*>(y + 4 * threadIdx.x) = w;
  if (threadIdx.x) return;
  bits[0] = __popc(0xf0f0u), bits[1] = __popcll(~0ull), bits[2] = __clz(1), bits[3] = __ffs(8);
  bits[4] = (i32)__brev(1u);
  bits[5] = __float_as_int(1.0f), bits[6] = (i32)(__double_as_longlong(1.0) >> 32), bits[7] = __clz(0);
  bits[8] = (i32)rintf(2.5f) + (i32)floorf(-0.5f) + (i32)ceil(0.5) + (i32)truncf(-1.5f);
  bits[8] += (i32)sqrtf(9.0f) + (i32)fabs(-4.0);
}
"""

    class Sizes(ctypes.Structure):
        _fields_ = [("n", ctypes.c_int64), ("k", ctypes.c_int), ("scale", ctypes.c_float)]

    x = np.arange(128, dtype=np.float32)
    dx, dy, bits = cuda.array(x), cuda.array(np.zeros_like(x)), cuda.array(np.zeros(9, np.int32))
    cuda.launch(cuda.kernel(text, "vectors"), 1, 32, dx, dy, Sizes(7, 3, 0.5), bits)
    v = x.reshape(32, 4)
    want = np.stack([v[:, 3] * 0.5, v[:, 2], v[:, 1] * 2 + 3, np.full(32, 7)], 1)
    np.testing.assert_array_equal(dy.get().reshape(32, 4), want)
    assert bits.get().tolist() == [8, 64, 31, 4, -(2**31), 0x3F800000, 0x3FF00000, 32, 2 - 1 + 1 - 1 + 3 + 4]


def test_arithmetic_is_not_contracted(cuda):
    text = "PD_KERNEL product(f32* x) { x[3] = x[0] * x[1] + x[2]; x[4] = fmaf(x[0], x[1], x[2]); }"
    a = np.float32(1 + 2**-12)
    dx = cuda.array(np.array([a, a, -a * a, 7, 7], np.float32))
    cuda.launch(cuda.kernel(text, "product"), 1, 1, dx)
    got = dx.get()
    assert got[3] == 0 and got[4] == np.float32(2.0**-24)


def test_globals_and_unload(cuda):
    text = "__device__ int counter[3];\n__constant__ float table[2] = {1.5f, 2.5f};\n" + (
        "PD_KERNEL bump(f32* x) { counter[1]++; x[0] = table[1]; }"
    )
    module, function = cuda.module(text), ctypes.c_void_p()
    cuda.call("cuModuleGetFunction", ctypes.byref(function), module, b"bump")
    address, size, out = ctypes.c_uint64(), ctypes.c_size_t(), np.zeros(3, np.int32)
    cuda.call("cuModuleGetGlobal_v2", ctypes.byref(address), ctypes.byref(size), module, b"counter")
    dx = cuda.array(np.zeros(1, np.float32))
    cuda.launch(function, 1, 32, dx)
    cuda.call("cuMemcpyDtoH_v2", out.ctypes.data, address, size.value)
    assert out.tolist() == [0, 32, 0] and dx.get()[0] == 2.5
    assert cuda.code("cuModuleGetFunction", ctypes.byref(function), module, b"missing") == 500
    cuda.call("cuModuleUnload", module)
    assert cuda.launch_code(function, 1, 1, [dx]) == 400


def test_capture_and_replay(cuda, order):
    stream, graph, executable, status = (ctypes.c_void_p() for _ in range(4))
    other, event, join = (ctypes.c_void_p() for _ in range(3))
    cuda.call("cuStreamCreate", ctypes.byref(stream), 1)
    cuda.call("cuStreamCreate", ctypes.byref(other), 1)
    cuda.call("cuEventCreate", ctypes.byref(event), 2)
    cuda.call("cuEventCreate", ctypes.byref(join), 2)
    n = 64
    x, y = np.ones(n, np.float32), np.zeros(n, np.float32)
    dx, dy, dz = cuda.array(x), cuda.array(y), cuda.array(y)
    function, a = cuda.kernel(SAXPY, "saxpy"), f32(2.0)
    cuda.call("cuStreamBeginCapture_v2", stream, 1)
    cuda.launch(function, 1, n, dx, dy, a, i32(n), stream=stream)
    a.value = 100.0  # read at the launch
    cuda.call("cuEventRecord", event, stream)
    cuda.call("cuStreamWaitEvent", other, event, 0)
    cuda.call("cuMemcpyDtoDAsync_v2", dz.pointer, dy.pointer, dz.bytes, other)
    cuda.call("cuEventRecord", join, other)
    cuda.call("cuStreamWaitEvent", stream, join, 0)
    scratch = ctypes.c_uint64()
    cuda.call("cuMemAllocAsync", ctypes.byref(scratch), 256, stream)
    cuda.call("cuMemsetD32Async", scratch, ctypes.c_uint(0x3F800000), 64, stream)
    cuda.call("cuMemcpyDtoDAsync_v2", dx.pointer, scratch, 256, stream)
    cuda.call("cuMemFreeAsync", scratch, stream)
    cuda.call("cuStreamIsCapturing", stream, ctypes.byref(status))
    assert status.value == 1
    cuda.call("cuStreamEndCapture", stream, ctypes.byref(graph))
    assert (dy.get() == 0).all()  # nothing has run yet
    cuda.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    cuda.call("cuGraphDestroy", graph)
    cuda.call("cuMemsetD32Async", dx.pointer, ctypes.c_uint(0x40000000), n, stream)
    for _ in range(3):
        cuda.call("cuGraphLaunch", executable, stream)
    cuda.call("cuStreamSynchronize", stream)
    assert (dy.get() == 4 + 2 + 2).all() and (dz.get() == dy.get()).all()
    cuda.call("cuGraphExecDestroy", executable)
    for s in (stream, other):
        cuda.call("cuStreamDestroy_v2", s)


def test_what_a_capture_forbids(cuda):
    stream, graph, other, event = (ctypes.c_void_p() for _ in range(4))
    cuda.call("cuStreamCreate", ctypes.byref(stream), 0)
    cuda.call("cuStreamCreate", ctypes.byref(other), 1)
    cuda.call("cuEventCreate", ctypes.byref(event), 2)
    dx = cuda.array(np.zeros(4, np.float32))
    assert cuda.code("cuStreamBeginCapture_v2", None, 0) == 900
    for forbidden, code in [
        (lambda: cuda.code("cuStreamSynchronize", stream), 900),
        (lambda: cuda.code("cuMemsetD8Async", dx.pointer, ctypes.c_ubyte(0), 4, None), 906),
        (lambda: cuda.code("cuCtxSynchronize"), 900),
    ]:
        cuda.call("cuStreamBeginCapture_v2", stream, 0)
        assert forbidden() == code
        assert cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph)) == 901
    cuda.call("cuStreamBeginCapture_v2", stream, 0)
    cuda.call("cuEventRecord", event, stream)
    assert cuda.code("cuEventQuery", event) == 907
    cuda.call("cuStreamWaitEvent", other, event, 0)
    assert cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph)) == 904
    cuda.call("cuStreamSynchronize", stream)
    cuda.call("cuStreamDestroy_v2", stream)
    cuda.call("cuStreamDestroy_v2", other)


def test_what_the_capturing_thread_must_not_do(cuda):
    """Where only its own calls count (thread-local), but nobody may wait for the whole device."""
    stream, graph, host = (ctypes.c_void_p() for _ in range(3))
    cuda.call("cuStreamCreate", ctypes.byref(stream), 1)
    dx, image = cuda.array(np.zeros(4, np.float32)), ctypes.create_string_buffer(64)
    alone = {
        "allocate": lambda: cuda.code("cuMemAlloc_v2", ctypes.byref(host), 256),
        "allocate host memory": lambda: cuda.code("cuMemHostAlloc", ctypes.byref(host), 256, 0),
        "copy and wait": lambda: cuda.code("cuMemcpyDtoH_v2", ctypes.addressof(image), dx.pointer, 16),
        "load": lambda: cuda.code("cuModuleLoadData", ctypes.byref(host), image),
    }

    def elsewhere(call):
        codes = []

        def work():
            cuda.call("cuCtxSetCurrent", cuda.context)
            codes.append(call())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return codes[0]

    for what, call in alone.items():
        cuda.call("cuStreamBeginCapture_v2", stream, 1)
        assert call() == 900, what
        assert cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph)) == 901, what
        cuda.call("cuStreamBeginCapture_v2", stream, 1)
        assert elsewhere(call) != 900, what
        assert cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph)) == 0, what
        cuda.call("cuGraphDestroy", graph)
    cuda.call("cuStreamBeginCapture_v2", stream, 1)
    assert elsewhere(lambda: cuda.code("cuCtxSynchronize")) == 900
    assert cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph)) == 901
    cuda.call("cuStreamDestroy_v2", stream)


def test_a_graph_finds_that_its_memory_is_gone(cuda):
    stream, graph, executable = (ctypes.c_void_p() for _ in range(3))
    cuda.call("cuStreamCreate", ctypes.byref(stream), 1)
    dx = cuda.array(np.zeros(4, np.float32))
    cuda.call("cuStreamBeginCapture_v2", stream, 1)
    cuda.call("cuMemsetD8Async", dx.pointer, ctypes.c_ubyte(1), 16, stream)
    cuda.call("cuStreamEndCapture", stream, ctypes.byref(graph))
    cuda.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    assert cuda.code("cuGraphLaunch", executable, stream) == 0
    dx.free()
    assert cuda.code("cuGraphLaunch", executable, stream) != 0


def test_a_wrong_text_gives_a_log_with_the_line(cuda):
    image, log = cuda.compile("\nPD_KERNEL wrong(f32* x) {\n  x[0] = undeclared;\n}\n")
    assert image is None
    assert f"kernel.cu:{PRELUDE_LINES + 3}:" in log and "undeclared" in log


def test_macros_are_passed_to_the_compiler(cuda):
    assert cuda.compile("PD_KERNEL k(f32* x) { x[0] = A + B; }", "-DA=1", "--define-macro=B=2")[0] is not None
    assert cuda.compile("PD_KERNEL k(f32* x) { x[0] = A; }")[0] is None


def test_name_expressions(cuda):
    program, name, size = ctypes.c_void_p(), ctypes.c_char_p(), ctypes.c_size_t()
    text = b"namespace n { template <class T> __global__ void fill(T* x, T v) { x[threadIdx.x] = v; } }"
    assert cuda.lib.nvrtcCreateProgram(ctypes.byref(program), text, None, 0, None, None) == 0
    assert cuda.lib.nvrtcAddNameExpression(program, b"n::fill<float>") == 0
    assert cuda.lib.nvrtcCompileProgram(program, 0, None) == 0
    assert cuda.lib.nvrtcGetLoweredName(program, b"n::fill<float>", ctypes.byref(name)) == 0
    cuda.lib.nvrtcGetCUBINSize(program, ctypes.byref(size))
    image = ctypes.create_string_buffer(size.value)
    cuda.lib.nvrtcGetCUBIN(program, image)
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    cuda.call("cuModuleLoadData", ctypes.byref(module), image)
    cuda.call("cuModuleGetFunction", ctypes.byref(function), module, name.value)
    dx = cuda.array(np.zeros(8, np.float32))
    cuda.launch(function, 1, 8, dx, f32(3.0))
    assert (dx.get() == 3).all()


def test_kernels_that_macros_make_and_that_conditions_hide(cuda):
    text = """
#define MAKE(T) PD_KERNEL __launch_bounds__(64) fill_##T(T* x, T v) { x[threadIdx.x] = v; }
MAKE(f32)
MAKE(i32)  // PD_KERNEL fill_comment(
#if PD_HOST
PD_KERNEL chosen(f32* x) { x[0] = 5.0f; }
#else
PD_KERNEL other(f32* x) { tensor_cores(x); }
#endif
"""
    dx = cuda.array(np.zeros(8, np.float32))
    cuda.launch(cuda.kernel(text, "fill_f32"), 1, 8, dx, f32(3.0))
    cuda.launch(cuda.kernel(text, "chosen"), 1, 1, dx)
    assert dx.get().tolist() == [5] + [3] * 7
    cuda.kernel(text, "fill_i32")
    with pytest.raises(Exception, match="500"):
        cuda.kernel(text, "other")


def test_a_compiler_that_is_not_there(library):
    body = """
image, log = cuda.compile("PD_KERNEL k(f32* x) {}")
assert image is None and "PYDIFF_CUDA_HOST_CXX" in log, log
"""
    done = run_apart(library, body, PYDIFF_CUDA_HOST_CXX="/no/such/compiler")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("bytes_, code", [(b"\x7fELF" + bytes(200), 209), (b"no image at all" * 20, 209)])
def test_a_foreign_image_is_refused(cuda, bytes_, code):
    module = ctypes.c_void_p()
    assert cuda.code("cuModuleLoadData", ctypes.byref(module), ctypes.create_string_buffer(bytes_)) == code


def test_launches_that_are_refused(cuda):
    function, dx = cuda.kernel(SAXPY, "saxpy"), cuda.array(np.zeros(4, np.float32))
    args = [dx, dx, f32(1), i32(4)]
    assert cuda.launch_code(function, 1, 1025, args) == 1
    assert cuda.launch_code(function, 0, 32, args) == 1
    assert cuda.launch_code(function, (1, 65536), 32, args) == 1
    assert cuda.launch_code(function, 1, (1, 1, 65), args) == 1
    assert cuda.launch_code(ctypes.c_void_p(8), 1, 1, args) == 400
    host = np.zeros(4, np.float32)
    assert cuda.launch_code(function, 1, 4, [dx, ctypes.c_uint64(host.ctypes.data), f32(1), i32(4)]) == 700


def test_memory(cuda):
    dx = cuda.array(np.arange(10, dtype=np.float32))
    host = np.zeros(10, np.float32)
    assert cuda.code("cuMemcpyDtoH_v2", host.ctypes.data, dx.pointer, 41) == 1
    assert cuda.code("cuMemcpyHtoD_v2", ctypes.c_uint64(dx.pointer.value + 4), host.ctypes.data, 40) == 1
    cuda.call("cuMemcpyDtoH_v2", host.ctypes.data, ctypes.c_uint64(dx.pointer.value + 36), 4)
    assert host[0] == 9
    kind = ctypes.c_uint()
    cuda.call("cuPointerGetAttribute", ctypes.byref(kind), 2, dx.pointer)
    assert kind.value == 2
    dx.free()
    assert cuda.code("cuMemFreeAsync", dx.pointer, None) == 1
    assert cuda.code("cuMemcpyDtoH_v2", host.ctypes.data, dx.pointer, 4) == 1
    pinned = ctypes.c_void_p()
    cuda.call("cuMemHostAlloc", ctypes.byref(pinned), 64, 0)
    cuda.call("cuPointerGetAttribute", ctypes.byref(kind), 2, ctypes.c_uint64(pinned.value))
    assert kind.value == 1
    cuda.call("cuMemFreeHost", pinned)


def test_memory_has_a_limit(library):
    body = """
a, b, free, total = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_size_t(), ctypes.c_size_t()
cuda.call("cuMemAllocAsync", ctypes.byref(a), 600000, None)
assert cuda.code("cuMemAllocAsync", ctypes.byref(b), 600000, None) == 2
cuda.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
assert total.value == 1000000 and 0 < 400000 - free.value < 512, free
cuda.call("cuMemFreeAsync", a, None)
cuda.call("cuMemAllocAsync", ctypes.byref(b), 600000, None)
"""
    done = run_apart(library, body, PYDIFF_CUDA_HOST_MEMORY="1000000")
    assert done.returncode == 0, done.stderr


def test_several_devices(library):
    body = """
count, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
cuda.call("cuDeviceGetCount", ctypes.byref(count))
assert count.value == 3
function, x = cuda.kernel(SAXPY, "saxpy"), cuda.array(np.ones(4, np.float32))
cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 2)
cuda.call("cuCtxSetCurrent", context)
y = cuda.array(np.zeros(4, np.float32))
where = ctypes.c_int()
cuda.call("cuPointerGetAttribute", ctypes.byref(where), 9, y.pointer)
assert where.value == 2
cuda.call("cuMemcpyDtoD_v2", y.pointer, x.pointer, 16)
assert (y.get() == 1).all()
assert cuda.launch_code(function, 1, 4, [x, y, f32(1), i32(4)]) == 400  # a function of another device
"""
    done = run_apart(library, body, PYDIFF_CUDA_HOST_DEVICES="3")
    assert done.returncode == 0, done.stderr


def test_use_after_fork_is_refused(library):
    body = """
pid = os.fork()
if pid == 0:
    os._exit(cuda.code("cuCtxSynchronize"))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
cuda.call("cuCtxSynchronize")
"""
    done = run_apart(library, body)
    assert done.returncode == 0, done.stderr


# ---- matrix products


class Product:
    """Column-major products of NumPy arrays through cublasGemmStridedBatchedEx."""

    types = {"f4": (0, 68), "f8": (1, 70), "f2": (2, 68)}

    def __init__(self, cuda):
        self.cuda, self.handle = cuda, ctypes.c_void_p()
        assert cuda.lib.cublasCreate_v2(ctypes.byref(self.handle)) == 0

    def code(self, dtype, trans_a, trans_b, sizes, a, b, c, alpha=1.0, beta=0.0, batch=1, lds=None):
        kind, compute = self.types[dtype]
        m, n, k = sizes
        scalar = ctypes.c_double if dtype == "f8" else ctypes.c_float
        lda, ldb, ldc = lds or (max(1, v) for v in (k if trans_a else m, n if trans_b else k, m))
        al, be, i, ll = scalar(alpha), scalar(beta), ctypes.c_int, ctypes.c_longlong
        return self.cuda.lib.cublasGemmStridedBatchedEx(
            self.handle, i(trans_a), i(trans_b), i(m), i(n), i(k), ctypes.byref(al), a.pointer, i(kind), i(lda),
            ll(m * k), b.pointer, i(kind), i(ldb), ll(k * n), ctypes.byref(be), c.pointer, i(kind), i(ldc), ll(m * n),
            i(batch), i(compute), i(-1))


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (17, 5, 3), (130, 37, 300), (3, 2, 0)])
def test_products(cuda, rng, dtype, trans_a, trans_b, sizes):
    m, n, k = sizes
    batch = 3
    a, b = rng.integers(-3, 4, (batch, m * k)).astype(dtype), rng.integers(-3, 4, (batch, k * n)).astype(dtype)
    c = rng.integers(-3, 4, (batch, m * n)).astype(dtype)
    da, db, dc = (cuda.array(v if v.size else np.zeros(1, dtype)) for v in (a, b, c))
    assert Product(cuda).code(dtype, trans_a, trans_b, sizes, da, db, dc, alpha=2.0, beta=0.5, batch=batch) == 0
    left = a.reshape(batch, m, k) if trans_a else a.reshape(batch, k, m).transpose(0, 2, 1)
    right = b.reshape(batch, k, n) if trans_b else b.reshape(batch, n, k).transpose(0, 2, 1)
    want = 2.0 * np.float64(left) @ np.float64(right) + 0.5 * c.reshape(batch, n, m).transpose(0, 2, 1)
    got = dc.get().reshape(batch, n, m).transpose(0, 2, 1)
    np.testing.assert_array_equal(got, want.astype(dtype))


def test_a_product_over_what_was_not_written(cuda):
    """beta = 0 does not read C; a product writes only its rows of a wider matrix."""
    a, c = cuda.array(np.ones(4, np.float32)), cuda.array(np.full(6, np.nan, np.float32))
    assert Product(cuda).code("f4", 0, 0, (2, 2, 2), a, a, c, lds=(2, 2, 3)) == 0
    np.testing.assert_array_equal(c.get(), [2, 2, np.nan, 2, 2, np.nan])


def test_products_that_are_refused(cuda):
    a, product = cuda.array(np.ones(16, np.float32)), Product(cuda)
    assert product.code("f4", 0, 0, (4, 4, 4), a, a, a, lds=(3, 4, 4)) == 7
    assert product.code("f4", 0, 0, (4, 4, 4), a, a, a, batch=2) == 7  # not so much memory
    assert product.code("f4", 0, 0, (4, 4, -1), a, a, a) == 7


def widened(bfloat):
    return (bfloat.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrowed(values):
    """The bits of the nearest bfloat16, of two equally near the even one."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


@pytest.mark.parametrize("kind", ["half", "bfloat"])
def test_16_bit_results_are_rounded_to_nearest_even(cuda, rng, kind):
    values = np.concatenate([
        rng.integers(0, 2**32, 5000, dtype=np.uint64).astype(np.uint32).view(np.float32),
        np.float32(rng.standard_normal(5000) * 10.0 ** rng.integers(-9, 6, 5000)),
        np.float32([65519.99, 65520, 2**-14, 2**-24, 2**-25, 3 * 2**-25, 1 + 2**-9, 1 + 3 * 2**-9]),
    ])
    values = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        if kind == "half":
            factors, third = values.astype(np.float16), np.full(1, 1 / 3, np.float16)
            want = (factors.astype(np.float32) * np.float32(third)).astype(np.float16).view(np.uint16)
        else:
            factors, third = (values.view(np.uint32) >> 16).astype(np.uint16), np.full(1, 0x3EAB, np.uint16)
            want = narrowed(widened(factors) * widened(third))
    want = np.where(factors.view(np.uint16) == 0x8000, 0, want)  # 0 + -0
    n, i, code = len(values), ctypes.c_int, {"half": 2, "bfloat": 14}[kind]
    product, one, zero = Product(cuda), ctypes.c_float(1), ctypes.c_float(0)
    out = cuda.array(np.zeros(n, np.uint16))

    def run(a, b, operands):
        return cuda.lib.cublasGemmEx(
            product.handle, i(0), i(0), i(n), i(1), i(1), ctypes.byref(one), a.pointer, i(operands), i(n),
            b.pointer, i(operands), i(1), ctypes.byref(zero), out.pointer, i(code), i(n), i(68), i(-1))

    assert run(cuda.array(values), cuda.array(values), 0) == 15  # cuBLAS has no product of floats into 16 bits
    assert run(cuda.array(factors), cuda.array(third), code) == 0
    np.testing.assert_array_equal(out.get(), want)


def test_a_product_is_captured(cuda):
    stream, graph, executable = (ctypes.c_void_p() for _ in range(3))
    cuda.call("cuStreamCreate", ctypes.byref(stream), 1)
    a, c, product = cuda.array(np.ones(4, np.float32)), cuda.array(np.zeros(4, np.float32)), Product(cuda)
    cuda.lib.cublasSetStream_v2(product.handle, stream)
    cuda.call("cuStreamBeginCapture_v2", stream, 1)
    assert product.code("f4", 0, 0, (2, 2, 2), a, a, c, beta=1.0) == 0
    cuda.call("cuStreamEndCapture", stream, ctypes.byref(graph))
    cuda.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    for _ in range(3):
        cuda.call("cuGraphLaunch", executable, stream)
    np.testing.assert_array_equal(c.get(), [6, 6, 6, 6])


def test_the_workspace_of_a_captured_product(cuda):
    """Without one of the caller's the graph allocates; a new stream takes it away; it must live as long as the graph."""
    stream, graph, executable, count = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
    cuda.call("cuStreamCreate", ctypes.byref(stream), 1)
    a, c, product = cuda.array(np.ones(4, np.float32)), cuda.array(np.zeros(4, np.float32)), Product(cuda)
    memory = cuda.array(np.zeros(1024, np.float32))
    set_workspace, set_stream = cuda.lib.cublasSetWorkspace_v2, cuda.lib.cublasSetStream_v2
    assert set_workspace(product.handle, ctypes.c_void_p(memory.pointer.value + 16), ctypes.c_size_t(1024)) == 7

    def captured(workspace):
        set_stream(product.handle, stream)
        if workspace:
            assert set_workspace(product.handle, ctypes.c_void_p(memory.pointer.value), ctypes.c_size_t(4096)) == 0
        cuda.call("cuStreamBeginCapture_v2", stream, 1)
        assert product.code("f4", 0, 0, (2, 2, 2), a, a, c) == 0
        cuda.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        cuda.call("cuGraphGetNodes", graph, None, ctypes.byref(count))
        return count.value

    assert [captured(w) for w in (False, True, False, True)] == [3, 1, 3, 1]
    cuda.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    cuda.call("cuGraphLaunch", executable, stream)
    np.testing.assert_array_equal(c.get(), [2, 2, 2, 2])
    memory.free()
    assert cuda.code("cuGraphLaunch", executable, stream) == 700


# ---- speed


def seconds(run):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def test_time_to_compile_and_to_run(cuda, capsys):
    def compile_one():
        assert cuda.compile(ROW_SUM)[0] is not None

    def multiply():
        assert product.code("f4", 0, 0, (512, 512, 512), a, a, c) == 0

    n, product = 1 << 18, Product(cuda)
    x, y, a, c = (cuda.array(np.ones(n, np.float32)) for _ in range(4))
    saxpy, row_sum = cuda.kernel(SAXPY, "saxpy"), cuda.kernel(ROW_SUM, "row_sum")
    compiling = seconds(compile_one)
    plain = seconds(lambda: cuda.launch(saxpy, n // 256, 256, x, y, f32(1), i32(n)))
    fibers = seconds(lambda: cuda.launch(row_sum, n // 256, 256, x, y, i32(256)))
    rate = 2 * 512**3 / seconds(multiply)
    with capsys.disabled():
        print(f"\ncompile {1e3 * compiling:.0f} ms a kernel; a thread takes {1e9 * plain / n:.1f} ns as a loop, "
              f"{1e9 * fibers / n:.0f} ns with a barrier and ten shuffles; products {rate / 1e9:.1f} GFLOP/s")
    assert compiling < 1.0 and plain / n < 1e-6
