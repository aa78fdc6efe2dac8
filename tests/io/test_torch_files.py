"""PyTorch's checkpoints are read without PyTorch, to the same values."""

import io
import subprocess
import sys
from collections import Counter, OrderedDict

import numpy as np
import pytest

import pydiff as pd

NAMES = ("bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128").split()


def saved(torch, value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    buffer.seek(0)
    return buffer


def equal(ours, theirs):
    assert repr(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    assert ours.shape == tuple(theirs.shape) and ours.requires_grad == theirs.requires_grad
    theirs = theirs.detach()
    assert ours.detach().tolist() == theirs.tolist()


def views(torch):
    x = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "whole": x, "part": x[1], "rows": x[:, 1], "columns": x[..., ::2], "turned": x.permute(2, 0, 1), "transposed": x.mT,
        "scalar": x[1, 2, 3], "expanded": x[:1].expand(5, 3, 4), "expanded inside": torch.ones(2, 1).expand(2, 3),
        "of one": torch.tensor(2.0).expand(2, 2), "none": x[:0], "channels": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "diagonal": torch.diagonal(torch.arange(9).reshape(3, 3)), "half": x.half()[:, ::2].mT, "ones": torch.zeros(1, 1, 3).permute(2, 0, 1),
        "complex": torch.arange(6).reshape(2, 3).T * 1j,
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_dtypes(name, torch):
    x = torch.arange(6).reshape(2, 3).to(getattr(torch, name))
    ours = pd.load(saved(torch, [x, x[0], x.T]))
    for a, b in zip(ours, [x, x[0], x.T]):
        equal(a, b)


@pytest.mark.smoke
@pytest.mark.parametrize("mmap", [True, False])
def test_views(mmap, torch, tmp_path):
    theirs = views(torch)
    torch.save(theirs, tmp_path / "x.pt")
    ours = pd.load(tmp_path / "x.pt", mmap=mmap)
    assert list(ours) == list(theirs)
    for name in theirs:
        equal(ours[name], theirs[name])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers(protocol, torch):
    value = {
        "nest": [1, -1, 2**40, -(2**80), 1.5, True, None, "ü" * 300, b"\x00\xff" * 200, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (), [], {}],
        3: {(1, "a"): 1j, 0.5: {1, 2}, None: frozenset({3})},
        "ordered": OrderedDict([("b", 1), ("a", [2])]), "counter": Counter({30: 1}),
        "facts": [torch.Size([2, 3]), torch.float16, torch.bfloat16, torch.int64],
        "many": list(range(3000)),
    }  # fmt: skip
    ours = pd.load(saved(torch, value, pickle_protocol=protocol))
    assert ours.pop("facts") == [(2, 3), pd.float16, pd.bfloat16, pd.int64]
    value.pop("facts")
    assert ours == value and repr(ours) == repr(value)


def test_devices(torch):
    kinds = [torch.device("cpu"), torch.device("cuda:1"), torch.device("cuda"), torch.device("mps")]
    assert pd.load(saved(torch, kinds)) == [pd.device("cpu"), pd.device("cuda:1"), pd.device("cuda"), pd.device("cpu")]


def test_a_training_run(torch, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    model(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    torch.save({"m": model.state_dict(), "o": optimizer.state_dict(), "s": scheduler.state_dict()}, tmp_path / "x.pth")
    ours = pd.load(tmp_path / "x.pth")
    for key, value in model.state_dict().items():
        equal(ours["m"][key], value)
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            equal(ours["o"]["state"][index][key], value)
    assert ours["o"]["param_groups"] == optimizer.state_dict()["param_groups"]
    assert ours["s"]["milestones"] == Counter([3, 5])
    small = pd.nn.Linear(3, 4)
    small.load_state_dict({key: ours["m"][f"0.{key}"] for key in ("weight", "bias")})


def test_parameters_and_what_requires_a_gradient(torch):
    p = torch.nn.Parameter(torch.ones(2))
    ours = pd.load(
        saved(torch, [p, p, torch.nn.Parameter(torch.ones(1), requires_grad=False), torch.ones(2, requires_grad=True)])
    )
    assert [type(v) is pd.nn.Parameter for v in ours] == [True, True, True, False]
    assert [v.requires_grad for v in ours] == [True, True, False, True]
    assert ours[0] is ours[1]


def test_tied_weights_are_one_object(torch):
    x = torch.rand(4, 3)
    a, b, c, d = pd.load(saved(torch, [x, x, x.view(4, 3), x[0]]))
    assert a is b is c and d is not a


def test_device_and_dtype(torch, device):
    buffer = saved(torch, {"w": torch.ones(2, dtype=torch.bfloat16), "n": torch.arange(2)})
    found = pd.load(buffer, device=device, dtype=pd.float32)
    assert found["w"].dtype == pd.float32 and found["n"].dtype == pd.int64
    assert found["w"].device == pd.device(device)


def test_big_endian(torch):
    """As PyTorch writes on another machine: each number's bytes turned, and a record that says so."""
    x = torch.arange(5, dtype=torch.int32)
    z = torch.arange(3) * (1 + 2j)
    import zipfile

    source = zipfile.ZipFile(saved(torch, [x, x[1:3], z]))
    turned = io.BytesIO()
    with zipfile.ZipFile(turned, "w") as out:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("/data/0"):
                data = np.frombuffer(data, "<i4").byteswap().tobytes()
            elif name.endswith("/data/1"):
                data = np.frombuffer(data, "<c8").byteswap().tobytes()
            elif name.endswith("/byteorder"):
                data = b"big"
            out.writestr(name, data)
    turned.seek(0)
    a, b, c = pd.load(turned)
    assert a.tolist() == [0, 1, 2, 3, 4] and b.tolist() == [1, 2] and c.tolist() == z.tolist()


def test_the_format_before_1_6_is_refused(torch, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(
        ValueError, match=r"^\[load\] the format of PyTorch before 1\.6 is not read; got .*; try torch\.save\(torch\.load"
    ):
        pd.load(tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"^\[load_torch\] the format of PyTorch before 1\.6"):
        pd.io.load_torch(tmp_path / "x.pt")


def test_modules_are_refused_by_name(torch):
    with pytest.raises(ValueError, match=r"got torch\.nn\.modules\.linear\.Linear in .*; try torch\.save\(model\.state_dict"):
        pd.load(saved(torch, torch.nn.Linear(1, 1)))


def test_torchscript_is_refused(torch, tmp_path):
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(tmp_path / "x.pt"))
    with pytest.raises(ValueError, match=r"TorchScript programs are not read; got .*; try torch\.save\(module\.state_dict"):
        pd.load(tmp_path / "x.pt")


def test_pytorch_is_not_imported(torch, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pt")
    code = f"import sys, pydiff as pd; print(pd.load({str(tmp_path / 'x.pt')!r})['a'].tolist(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[1.0, 1.0] False", done.stderr


def test_tensors_lie_in_the_mapped_file(torch, tmp_path):
    torch.save({"w": torch.arange(1000.0), "t": torch.arange(1000.0).reshape(10, 100).T}, tmp_path / "x.pt")
    found = pd.load(tmp_path / "x.pt")
    assert found["t"].tolist() == np.arange(1000.0).reshape(10, 100).T.tolist()
    with open("/proc/self/maps") as maps:
        places = [line.split()[0].split("-") for line in maps if line.rstrip().endswith("x.pt")]
    address = found["w"].numpy().__array_interface__["data"][0]
    assert any(int(low, 16) <= address < int(high, 16) for low, high in places)
