"""The stand-in for CUDA that runs on the CPU: mistakes of kernels end the process with a message, or change results."""

import re
import signal

import numpy as np
import pytest

from cuda_host_tools import PRELUDE_LINES, i32, library_path, reported, run_apart, shared_cuda


@pytest.fixture(scope="module")
def library():
    return library_path()


@pytest.fixture(scope="module")
def cuda():
    return shared_cuda()


WRITE = "PD_KERNEL write(f32* x, i32 i) { x[i] = 1.0f; }\nPD_KERNEL read(f32* x, i32 i) { x[0] = x[i]; }\n"


def outside(kernel, i, after=""):
    launch = f"cuda.launch(cuda.kernel({WRITE!r}, {kernel!r}), 1, 1, x, i32({i}))"
    return f"x = cuda.array(np.zeros(10, np.float32))\n{launch}\n{after}"


@pytest.mark.parametrize("i, words", [(10, "0 bytes behind"), (-1, "4 bytes before"), (40, "120 bytes behind")])
def test_a_write_outside_of_memory(library, i, words):
    text = reported(library, outside("write", i))
    assert "outside" in text and words in text and "block of 40 bytes" in text and "kernel 'write'" in text


@pytest.mark.parametrize("kernel", ["write", "read"])
def test_guard_pages(library, kernel):
    text = reported(library, outside(kernel, 16), PYDIFF_CUDA_HOST_GUARD="pages")
    assert f"kernel '{kernel}', block (0, 0, 0), thread (0, 0, 0): illegal access" in text
    assert "24 bytes behind the block of 40 bytes" in text
    assert "outside" in reported(library, outside("write", 10), PYDIFF_CUDA_HOST_GUARD="pages")


def test_memory_within_pages_is_usable(library):
    done = run_apart(library, outside("write", 9, "assert x.get()[9] == 1"), PYDIFF_CUDA_HOST_GUARD="pages")
    assert done.returncode == 0, done.stderr


def test_a_write_through_a_hidden_pointer_is_seen_when_synchronised(library):
    body = """
class Hidden(ctypes.Structure):
    _fields_ = [("p", ctypes.c_uint64)]
text = "struct Hidden { char* p; };\\nPD_KERNEL hidden(Hidden h) { h.p[12] = 0; }"
x = cuda.array(np.zeros(3, np.float32))
cuda.launch(cuda.kernel(text, "hidden"), 1, 1, Hidden(x.pointer.value))
print("launched", flush=True)
cuda.call("cuCtxSynchronize")
"""
    done = run_apart(library, body)
    assert done.returncode == -signal.SIGABRT and "launched" in done.stdout
    assert "0 bytes behind the block of 12 bytes" in done.stderr


def test_a_write_to_freed_memory(library):
    body = """
class Hidden(ctypes.Structure):
    _fields_ = [("p", ctypes.c_uint64)]
text = "struct Hidden { char* p; };\\nPD_KERNEL late(Hidden h) { h.p[5] = 0; }"
x = cuda.array(np.zeros(1000, np.float32))
x.free()
cuda.launch(cuda.kernel(text, "late"), 1, 1, Hidden(x.pointer.value))
for _ in range(100):
    cuda.array(np.zeros(100000, np.float32)).free()
"""
    text = reported(library, body)
    assert "freed device memory, byte 5 of the block of 4000 bytes" in text


def launch_of(text, name, block, shared=0, size=64):
    """The body that launches a kernel of one array."""
    return (
        f"x = cuda.array(np.zeros({size}, np.int32))\n"
        f"cuda.launch(cuda.kernel({text!r}, {name!r}), 1, {block}, x, shared={shared})\ncuda.call('cuCtxSynchronize')\n"
    )


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffle"])
def test_a_divergent_barrier(library, order):
    text = """
PD_KERNEL divergent(i32* x) {
  if (threadIdx.x < 16) {
    __syncthreads();
    x[0] = 1;
  } else {
    __syncthreads();
    x[1] = 2;
  }
}
"""
    message = reported(library, launch_of(text, "divergent", 64), PYDIFF_CUDA_HOST_ORDER=order)
    lines = sorted(int(n) for n in re.findall(r"line (\d+)", message))
    assert "kernel 'divergent'" in message and "divergent barrier" in message
    assert lines == [PRELUDE_LINES + 4, PRELUDE_LINES + 7]


def test_a_barrier_that_some_threads_never_reach(library):
    text = """
PD_KERNEL stuck(i32* x) {
  if (threadIdx.x < 40) __syncthreads();
  else x[0] = __shfl_sync(PD_ALL, 1, 0);
}
"""
    message = reported(library, launch_of(text, "stuck", 64))
    assert "kernel 'stuck'" in message and "never come" in message
    assert "40 threads, the first 0, at __syncthreads" in message and "64 living threads" in message
    assert "24 threads, the first 40, at __shfl_sync" in message and "missing lanes 0x000000ff" in message


@pytest.mark.parametrize(
    "body, words",
    [
        ("if (t < 16) x[t] = __shfl_xor_sync(PD_ALL, t, 1); else __syncthreads();", "missing lanes 0xffff0000"),
        ("if (t >= 20) return; x[t] = __shfl_xor_sync(PD_ALL, t, 16);", "which has ended"),
        ("x[t] = __shfl_xor_sync(t < 16 ? 0xffffu : 0xffff0000u, t, 16);", "which the mask leaves out"),
        ("x[t] = __shfl_sync(0xffffu, t, 0);", "leaves out the lane that calls"),
        ("x[t] = t < 16 ? __shfl_sync(PD_ALL, t, 0) : __any_sync(PD_ALL, 1);", "of the same warp is at"),
        ("x[t] = __shfl_sync(PD_ALL, t, 0, 5);", "no power of two"),
    ],
)
def test_a_wrong_warp_operation(library, body, words):
    text = f"\nPD_KERNEL lanes(i32* x) {{\n  const i32 t = threadIdx.x;\n  {body}\n}}"
    message = reported(library, launch_of(text, "lanes", 32))
    assert words in message and "kernel 'lanes'" in message and f"line {PRELUDE_LINES + 4}" in message, message


def test_a_write_behind_dynamic_shared_memory(library):
    text = "PD_KERNEL over(i32* x) { PD_DYNAMIC_SHARED(p); p[threadIdx.x] = 1; }"
    assert "behind its 30 bytes of dynamic shared memory" in reported(library, launch_of(text, "over", 31, shared=30))
    done = run_apart(library, launch_of(text, "over", 30, shared=30))
    assert done.returncode == 0, done.stderr


def test_a_full_stack(library):
    text = """
PD_DEVICE i32 sum(volatile i32* a, i32 n) { i32 s = 0; for (i32 i = 0; i < n; i++) s += a[n - 1 - i] = i; return s; }
PD_KERNEL deep(i32* x) { i32 a[40000]; x[0] = sum(a, 40000); }
"""
    assert "stack of 64 KiB overflowed" in reported(library, launch_of(text, "deep", 1))


def test_a_null_pointer_and_a_trap(library):
    text = "PD_KERNEL null(i32* x) { *(volatile i32*)(x[0] * 8ull) = 1; }"
    assert "kernel 'null'" in reported(library, launch_of(text, "null", 1))
    assert "__trap()" in reported(library, launch_of("PD_KERNEL trap(i32* x) { __trap(); }", "trap", 1))


def test_messages_are_also_written_to_a_file(library, tmp_path):
    log = tmp_path / "log"
    reported(library, outside("write", 10), PYDIFF_CUDA_HOST_LOG=str(log))
    assert "kernel 'write'" in log.read_text()


def test_an_order_that_is_none(library):
    assert "got 'sideways'" in reported(library, outside("write", 0), PYDIFF_CUDA_HOST_ORDER="sideways")


def test_a_race_shows_under_another_order(cuda, monkeypatch):
    """Each thread passes its value on to the next; without the barrier the next may read before or after."""
    def text(barrier):
        return f"""
PD_KERNEL pass_on(i32* x) {{
  __shared__ i32 tile[64];
  const i32 t = threadIdx.x;
  tile[t] = -1;
  __syncthreads();
  tile[t] = x[t];
  {barrier}
  x[t] = tile[(t + 63) % 64];
}}
"""
    got = {}
    for barrier in ("", "__syncthreads();"):
        for order in ("forward", "reverse", "shuffle"):
            monkeypatch.setenv("PYDIFF_CUDA_HOST_ORDER", order)
            dx = cuda.array(np.arange(64, dtype=np.int32))
            cuda.launch(cuda.kernel(text(barrier), "pass_on"), 1, 64, dx)
            got[barrier, order] = tuple(dx.get())
    right = tuple(np.roll(np.arange(64), 1))
    assert {got["__syncthreads();", o] for o in ("forward", "reverse", "shuffle")} == {right}
    assert len({got["", o] for o in ("forward", "reverse", "shuffle")}) == 3
