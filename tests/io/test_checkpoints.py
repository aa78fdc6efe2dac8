"""`save` and `load`: what goes in comes out, other readers understand it, and a failure leaves what was there."""

import doctest
import errno
import io
import json
import os
import subprocess
import sys
import zlib
from collections import Counter, OrderedDict, namedtuple

import numpy as np
import pytest

import pydiff as pd
from pydiff.io import _files

Pair = namedtuple("Pair", "left right")
DTYPES = list(pd.DTYPES.values())


def sample(dtype, shape=(2, 3)):
    values = np.arange(np.prod(shape)).reshape(shape) % 5
    return pd.tensor(values.astype(dtype.numpy))


OBJECTS = {
    "numbers": [0, -1, 10**40, 1.5, -0.0, 5e-324, float("nan"), float("inf"), -float("inf"), True, None, 1 + 2j],
    "text": {"a": 'ü\n"', "": b"\x00\xff", "$": "tensor"},
    "containers": [(), [], {}, (1, [2, (3,)]), {1, 2}, frozenset("ab"), Counter({30: 1}), OrderedDict([("b", 1), ("a", 2)])],
    "keys": {0: "a", 1.5: "b", True: "c", None: "d", (1, "x"): "e", b"k": "f", "0": "g"},
    "named": Pair(1, [Pair("a", None)]),
    "facts": [pd.float32, pd.bfloat16, pd.device("cpu"), pd.device("cuda:1")],
    "arrays": [np.arange(6.0).reshape(2, 3).T, np.array(3), np.zeros((0, 2)), np.float32(1.5), np.int64(-3), np.bool_(True)],
}


def nested(n, make):
    value = 0
    for _ in range(n):
        value = make(value)
    return value


def values():
    found = dict(OBJECTS)
    found["nested"] = [
        nested(98, make) for make in (lambda v: [v], lambda v: {"a": v}, lambda v: {1: v}, lambda v: Pair(v, (v,)[:0]))
    ]
    found["dtypes"] = {dtype.name: [sample(dtype), sample(dtype, ()), sample(dtype, (0, 2))] for dtype in DTYPES}
    x = pd.ones(2, requires_grad=True)
    found["leaves"] = [x, pd.nn.Parameter(pd.zeros(3)), pd.nn.Parameter(pd.zeros(1), requires_grad=False)]
    found["clash"] = {"a.b": pd.ones(1), "a": {"b": pd.zeros(2)}, "__metadata__": pd.ones(3)}
    found["pending"] = pd.arange(5.0).exp() * 2
    found["transposed"] = [pd.arange(6).reshape(2, 3).T, pd.arange(6)[::2], pd.zeros(1).expand(4)]
    return found


@pytest.mark.parametrize("name", list(values()))
@pytest.mark.parametrize("how", ["path", "file", "read"])
def test_what_goes_in_comes_out(name, how, tmp_path, same):
    value = values()[name]
    if how == "file":
        buffer = io.BytesIO()
        pd.save(value, buffer)
        buffer.seek(0)
        same(pd.load(buffer, verify=True), value)
        return
    pd.save(value, tmp_path / "x")
    same(pd.load(tmp_path / "x", verify=True, mmap=how == "path"), value)


@pytest.mark.smoke
def test_a_state_dict_is_a_plain_safetensors_file(tmp_path, torch):
    safetensors = pytest.importorskip("safetensors.torch")
    model = pd.nn.Sequential(pd.nn.Linear(3, 4), pd.nn.Linear(4, 2)).to(pd.bfloat16)
    pd.save(model.state_dict(), tmp_path / "model.safetensors")
    theirs = safetensors.load_file(tmp_path / "model.safetensors")
    assert list(theirs) == sorted(model.state_dict()) or set(theirs) == set(model.state_dict())
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).bfloat16()
    other.load_state_dict(theirs)
    for key, value in other.state_dict().items():
        assert value.float().tolist() == model.state_dict()[key].float().tolist()
    with pytest.importorskip("safetensors").safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"


def test_files_of_the_package_are_read(tmp_path, torch, same):
    safetensors = pytest.importorskip("safetensors.torch")
    values = {str(d): torch.arange(6).reshape(2, 3).to(d) for d in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32,
        torch.float64, torch.uint16, torch.uint32, torch.uint64, torch.complex64)}  # fmt: skip
    values |= {"none": torch.zeros(0, 3), "scalar": torch.tensor(2.5)}
    safetensors.save_file(values, tmp_path / "x.safetensors", metadata={"by": "them"})
    ours = pd.load(tmp_path / "x.safetensors", verify=True)
    assert set(ours) == set(values)
    for key, value in values.items():
        assert repr(ours[key].dtype).split(".")[1] == str(value.dtype).split(".")[1]
        assert ours[key].shape == tuple(value.shape) and ours[key].tolist() == value.tolist()
    assert pd.io.open(tmp_path / "x.safetensors").metadata == {"by": "them"}


class Tied(pd.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = pd.nn.Parameter(pd.rand(4, 3))
        self.head = pd.nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding


def test_tied_weights_are_saved_once_and_tied_again(tmp_path):
    model = Tied()
    state = model.state_dict()
    assert state["embedding"] is state["head.weight"]
    pd.save(state, tmp_path / "a")
    assert os.path.getsize(tmp_path / "a") < 2 * 48 + 600
    found = pd.load(tmp_path / "a")
    assert list(found) == ["embedding", "head.weight"] and found["embedding"] is found["head.weight"]
    with pd.io.open(tmp_path / "a") as file:
        assert file.keys() == ["embedding", "head.weight"] and file["head.weight"].tolist() == state["embedding"].tolist()
    x = pd.ones(2)
    pd.save({"a": x, "b": [x, x.clone(), x.detach()]}, tmp_path / "b")
    found = pd.load(tmp_path / "b")
    assert found["a"] is found["b"][0] and found["a"] is not found["b"][1]
    found["b"][1].add_(1)
    assert found["a"].tolist() == [1, 1]


def test_the_packages_record_of_tied_weights_is_read(tmp_path, torch):
    safetensors = pytest.importorskip("safetensors.torch")
    model = torch.nn.Module()
    model.a, model.b = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
    model.b.weight = model.a.weight
    safetensors.save_model(model, str(tmp_path / "x"))
    found = pd.load(tmp_path / "x")
    assert set(found) == {"a.weight", "b.weight"} and found["a.weight"] is found["b.weight"]


def test_the_optimiser_goes_on(tmp_path, same):
    def step(model, optimizer):
        optimizer.zero_grad()
        (model(pd.ones(4, 3)) ** 2).sum().backward()
        optimizer.step()

    model = pd.nn.Linear(3, 2)
    optimizer = pd.optim.Adam(model.parameters(), lr=0.1)
    step(model, optimizer)
    pd.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "x")
    saved = pd.load(tmp_path / "x")
    same(saved["optimizer"], optimizer.state_dict())
    other = pd.nn.Linear(3, 2)
    other.load_state_dict(saved["model"])
    theirs = pd.optim.Adam(other.parameters(), lr=5.0)
    theirs.load_state_dict(saved["optimizer"])
    for _ in range(3):
        step(model, optimizer)
        step(other, theirs)
    same(model.state_dict(), other.state_dict())


def test_bfloat16_without_numpys_type(tmp_path):
    """Where ml_dtypes is not installed, numbers are copied, exactly."""
    x = pd.tensor([[1.5, -0.0, 3e38], [float("inf"), 1e-40, -2.0]]).to(pd.bfloat16)
    pd.save({"x": x, "s": x[0, 0]}, tmp_path / "a")
    code = f"""if True:
        import sys
        sys.modules["ml_dtypes"] = None
        import importlib.util
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "ml_dtypes" else found(name, *rest)
        import pydiff as pd
        value = pd.load({str(tmp_path / "a")!r}, verify=True)
        assert value["x"].dtype == pd.bfloat16, value
        pd.save(value, {str(tmp_path / "b")!r})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- shards


@pytest.mark.parametrize("limit", [100, "0.1KB"])
def test_shards_are_laid_out_as_hugging_face_does(tmp_path, limit, same):
    state = {f"layer.{k}": pd.full((10,), float(k)) for k in range(5)}
    pd.save(state, tmp_path / "model.safetensors", max_shard_size=limit)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 200
    assert index["weight_map"]["layer.0"] == index["weight_map"]["layer.1"] == "model-00001-of-00003.safetensors"
    assert not (tmp_path / "model.safetensors").exists()
    for path in (tmp_path, tmp_path / "model.safetensors", tmp_path / "model.safetensors.index.json"):
        same(pd.load(path, verify=True), state)
    with pd.io.open(tmp_path) as file:
        assert file["layer.4"].tolist() == [4.0] * 10 and file.shape("layer.3") == (10,)


def test_shards_of_any_object_and_one_after_the_other(tmp_path, same):
    path = tmp_path / "run.safetensors"
    x = pd.arange(100)
    values = [{"n": n, "x": [x, x], "y": pd.full((100,), float(n)), "c": np.ones(9) * 1j} for n in range(3)]
    for value in values:
        pd.save(value, path, max_shard_size=900)
        found = pd.load(path)
        same(found, value)
        assert found["x"][0] is found["x"][1]
        assert len(os.listdir(tmp_path)) == 3, os.listdir(tmp_path)  # nothing of the one before
    pd.save(values[0], path, max_shard_size="5GB")
    assert os.listdir(tmp_path) == ["run.safetensors"]
    same(pd.load(path), values[0])
    pd.save(values[1], path, max_shard_size=900)
    assert not path.exists()
    same(pd.load(path), values[1])


def test_folders_of_bin_shards(tmp_path, torch):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(3), "c": torch.ones(1)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    names = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    found = pd.load(tmp_path)
    assert list(found) == ["a", "b"] and found["b"].tolist() == [0, 0, 0]


# ---- reading


def test_loading_maps_and_never_writes(tmp_path):
    path = tmp_path / "x"
    pd.save({"w": pd.arange(1000.0), "a": np.arange(4)}, path)
    before = path.read_bytes()
    found = pd.load(path)
    address = found["w"].numpy().__array_interface__["data"][0]
    if sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            places = [line.split()[0].split("-") for line in maps if line.rstrip().endswith(str(path))]
        assert any(int(low, 16) <= address < int(high, 16) for low, high in places)
    found["w"].add_(1)
    found["a"][:] = 7
    assert found["w"].sum().item() == 1000 * 999 / 2 + 1000
    assert path.read_bytes() == before
    kept = pd.load(path)["w"]
    os.unlink(path)
    assert kept[10].item() == 10


def test_nothing_is_read_before_it_is_used(tmp_path):
    """Of 64 MB less than 1 MB becomes resident."""
    pd.save({"w": pd.zeros(16 << 20), "b": pd.ones(1)}, tmp_path / "x")
    code = f"""if True:
        import os, pydiff as pd
        pd.load({str(tmp_path / "x")!r})["b"].item()
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        before = resident()
        found = pd.load({str(tmp_path / "x")!r})
        print(found["w"].shape, found["b"].item(), resident() - before)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 1 << 20, done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="a sparse file")
def test_a_file_that_is_larger_than_the_memory(tmp_path):
    size = 1 << 42
    text = json.dumps({"x": {"dtype": "U8", "shape": [size - 1], "data_offsets": [0, size - 1]}}).encode()
    with open(tmp_path / "x", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"\7")
        try:
            file.truncate(8 + len(text) + size - 1)
        except OSError:
            pytest.skip("the file system has no files of 4 TB")
    x = pd.load(tmp_path / "x")["x"]
    assert x.shape == (size - 1,) and x[:2].tolist() == [7, 0]
    with pd.io.open(tmp_path / "x") as file:
        assert file.slice("x")[-3:].tolist() == [0, 0, 0]


def test_device_and_dtype(tmp_path, device):
    pd.save({"w": pd.ones(2), "i": pd.arange(2), "h": pd.ones(1, dtype=pd.float16)}, tmp_path / "x")
    found = pd.load(tmp_path / "x", device=device, dtype="bfloat16")
    assert [found[k].dtype.name for k in "wih"] == ["bfloat16", "int64", "bfloat16"]
    assert all(str(v.device) == str(pd.device(device)) for v in found.values())
    assert pd.load(tmp_path / "x", "cpu")["w"].device == "cpu"
    assert pd.io.open(tmp_path / "x", dtype=pd.float64)["w"].dtype == pd.float64


def test_slices(tmp_path):
    x = pd.arange(24).reshape(4, 3, 2)
    pd.save({"x": x, "m": x > 3}, tmp_path / "x")
    with pd.io.open(tmp_path / "x") as file:
        part = file.slice("x")
        assert part.shape == (4, 3, 2) and file.dtype("x") == pd.int64 and "x" in file and len(file) == 2
        for key in (0, slice(1, 3), (slice(None), 1), (Ellipsis, slice(None, None, 2)), [0, 2], (1, 2, 1)):
            assert part[key].tolist() == x.numpy()[key].tolist()
        assert file.slice("m")[2].tolist() == (x > 3)[2].tolist()
        kept = file["x"]
        with pytest.raises(KeyError, match=r"\[load\] there is no tensor of this name; got y in .*; try one of 'x'"):
            file["y"]
    assert kept.tolist() == x.tolist()


def test_a_changed_byte_is_found(tmp_path):
    path = tmp_path / "x"
    pd.save({"first": pd.ones(3), "second": pd.ones(4), "k": 1}, path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    pd.load(path)
    with pytest.raises(ValueError, match=r"^\[load\] the bytes of second are not those that were saved; got .*; try"):
        pd.load(path, verify=True)
    with pd.io.open(path) as file:
        file.verify("first")
        with pytest.raises(ValueError, match="second"):
            file.verify()


def test_the_checksum_is_crc32(tmp_path):
    pd.save({"x": pd.arange(300_000.0)}, tmp_path / "x")  # large enough for the thread
    facts = json.loads(pd.io.open(tmp_path / "x").metadata["pydiff"])
    assert facts["crc32"] == {"x": f"{zlib.crc32(np.arange(300_000, dtype='f4').tobytes()):08x}"}


# ---- what cannot be done


def cycle():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (lambda: {"a": [1, print]}, r"objects of this type are not saved; got builtin_function_or_method at a\.1; try"),
        (lambda: pd.nn.Linear(1, 1), r"got Linear at the top; try its state_dict\(\)"),
        (lambda: np.array(["a"]), "arrays of this type have no counterpart; got <U1"),
        (lambda: np.array([None]), "got object"),
        (lambda: np.datetime64("2020"), "this NumPy type has no counterpart"),
        (lambda: {"y": pd.ones(2, requires_grad=True) * 2}, r"only leaves .*; got the result of .* at y; try tensor\.detach"),
        (cycle, "a container holds itself"),
        (lambda: nested(101, lambda v: [v]), "the nesting is too deep"),
        (lambda: {"k": {(1, print): 2}}, "got builtin_function_or_method"),
    ],
)
def test_what_is_not_saved(value, what, tmp_path):
    with pytest.raises(TypeError, match=r"^\[save\] .*" + what):
        pd.save(value(), tmp_path / "x")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("size", [0, -1, "5 bananas", "GB", 1.5, True])
def test_sizes_of_shards_that_are_none(size, tmp_path):
    with pytest.raises(ValueError, match=r"^\[save\] max_shard_size is .*; got .*; try '5GB'"):
        pd.save({}, tmp_path / "x", max_shard_size=size)


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^\[load\] there is no such file; got .*; try"):
        pd.load(tmp_path / "x")
    with pytest.raises(FileNotFoundError, match=r"^\[load\] the folder has no one checkpoint; got 0 in"):
        pd.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^\[save\] there is no such folder; got .*; try"):
        pd.save({}, tmp_path / "no" / "x")
    with pytest.raises(ValueError, match=r"^\[load\] pickled objects are not run; .*; try weights_only=True"):
        pd.load(tmp_path / "x", weights_only=False)
    with pytest.raises(TypeError, match=r"^\[load\] map_location is a device; got dict"):
        pd.load(tmp_path / "x", map_location={})


class Full(_files.Sink):
    """A disk on which so many bytes are free."""

    room = 0

    def __init__(self, fd):
        super().__init__(fd)
        self._write, self.write = self.write, self._limited

    def _limited(self, data):
        Full.room -= memoryview(data).nbytes
        if Full.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(data)


@pytest.mark.parametrize("shards", [None, 3000])
@pytest.mark.parametrize("room", [0, 100, 2500, 9000])
def test_a_full_disk_leaves_what_was_there(room, shards, tmp_path, monkeypatch, same):
    path = tmp_path / "run.safetensors"
    old = {"step": 1, "a": pd.zeros(500), "b": pd.zeros(500)}
    new = {"step": 2, **{k: pd.ones(500) for k in "abcdef"}}
    for before in (None, shards):
        pd.save(old, path, max_shard_size=before)
        files = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
        with monkeypatch.context() as patch:
            patch.setattr(_files, "Sink", Full)
            Full.room = room
            with pytest.raises(
                OSError, match=r"^\[save\] the file cannot be written, .*; got No space left on device .*; try"
            ) as caught:
                pd.save(new, path, max_shard_size=shards)
        assert caught.value.errno == errno.ENOSPC
        assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == files
        same(pd.load(path, verify=True), old)


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_disk_that_fails_behind_the_back(fails, tmp_path, monkeypatch, same):
    """The system tells an error of the disk to one fsync only, which may be one that runs beside the writing."""
    path = tmp_path / "x"
    old = {"a": pd.zeros(10)}
    pd.save(old, path)
    calls = []

    def fsync(fd):
        calls.append(fd)
        if len(calls) == fails + 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(_files, "_BATCH", 4000)
    monkeypatch.setattr(_files.os, "fsync", fsync)
    with pytest.raises(OSError, match=r"^\[save\] the file cannot be written.*; got Input/output error"):
        pd.save({str(k): pd.ones(1000) for k in range(40)}, path)
    assert os.listdir(tmp_path) == ["x"]
    same(pd.load(path, verify=True), old)


def test_a_file_system_that_takes_no_more(tmp_path, same):
    """The kernel's own refusal: no file of this process may have more than 64 KB."""
    path = tmp_path / "x"
    old = {"a": pd.zeros(10)}
    pd.save(old, path)
    code = f"""if True:
        import pydiff as pd, resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        try:
            pd.save({{"a": pd.zeros(1 << 20)}}, {str(path)!r})
        except OSError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("[save] the file cannot be written"), done.stdout + done.stderr
    assert os.listdir(tmp_path) == ["x"]
    same(pd.load(path, verify=True), old)


def test_a_process_that_is_killed_in_the_middle(tmp_path, same):
    path = tmp_path / "x"
    old = {"a": pd.zeros(10)}
    pd.save(old, path)
    code = f"""if True:
        import os, pydiff as pd
        from pydiff.io import _files
        class Killed(_files.Sink):
            def finish(self):
                os.kill(os.getpid(), 9)
        _files.Sink = Killed
        pd.save({{"a": pd.ones(10)}}, {str(path)!r})
    """
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == -9
    same(pd.load(path, verify=True), old)


def test_a_link_stays_a_link(tmp_path, same):
    pd.save({"a": 1}, tmp_path / "target")
    os.symlink(tmp_path / "target", tmp_path / "link")
    pd.save({"a": 2}, tmp_path / "link")
    assert os.path.islink(tmp_path / "link")
    same(pd.load(tmp_path / "target"), {"a": 2})


@pytest.mark.parametrize("name", ["format", "pydiff", "__metadata__"])
def test_names_that_the_format_uses_itself(name, tmp_path, same):
    x = pd.ones(2)
    for value in ({name: x}, {"a": x, name: x}, {name: x, "a": x, "b": pd.zeros(1)}):
        pd.save(value, tmp_path / "x")
        same(pd.load(tmp_path / "x"), value)


def test_a_file_is_opened_once(tmp_path):
    pd.save({"a": pd.ones(100)}, tmp_path / "x")
    pd.load(tmp_path / "x")
    opened.clear()
    for options in ({"mmap": False}, {"verify": True}):
        pd.load(tmp_path / "x", **options)
    assert opened.count(str(tmp_path / "x")) == 2


opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)


def test_files_have_the_permissions_of_others(tmp_path):
    (tmp_path / "plain").write_text("")
    pd.save({}, tmp_path / "x")
    assert os.stat(tmp_path / "x").st_mode == os.stat(tmp_path / "plain").st_mode
    os.chmod(tmp_path / "x", 0o640)
    pd.save({"a": 1}, tmp_path / "x")
    assert os.stat(tmp_path / "x").st_mode & 0o777 == 0o640


def test_the_examples_in_the_docstrings():
    tried = doctest.testmod(pd.io)
    assert tried.attempted > 15 and not tried.failed
