"""Datasets, samplers, collate and readers: against PyTorch's, and what they say of wrong input."""

import dataclasses
import doctest
import importlib
import pkgutil
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import pydiff as pd
from pydiff import data as D

Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Record:
    x: object
    label: str


def plain(value):
    """Nested lists of what both libraries gave."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if dataclasses.is_dataclass(value):
        return [plain(getattr(value, f.name)) for f in dataclasses.fields(value)]
    return value.tolist() if hasattr(value, "tolist") else value


def modules():
    names = ["pydiff.data"]
    for found in pkgutil.walk_packages(D.__path__, "pydiff.data."):
        names.append(found.name)
    return names


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_the_docstrings(name):
    assert not doctest.testmod(importlib.import_module(name)).failed


def test_pytorchs_path():
    assert pd.utils.data.DataLoader is D.DataLoader
    assert set(D.__all__) <= set(vars(pd.utils.data))


# ---- datasets


@pytest.mark.smoke
def test_datasets_as_pytorchs(torch):
    theirs = torch.utils.data
    first, second = list(range(5)), list("abcdefg")
    for make in (
        lambda m: m.ConcatDataset([first, second]),
        lambda m: m.StackDataset(first, second[:5]),
        lambda m: m.StackDataset(a=first, b=second[:5]),
        lambda m: m.Subset(second, [3, 1, 1]),
        lambda m: m.Subset(m.ConcatDataset([first, second]), [11, 0, 6]),
    ):
        a, b = make(D), make(theirs)
        everything = range(len(b))
        assert [a[k] for k in range(len(a))] == [b[k] for k in everything]
        assert a.__getitems__(everything[::-1]) == [b[k] for k in everything[::-1]]


def test_tensor_dataset_reads_a_batch_at_once(rng):
    x, y = rng.standard_normal((9, 2)), np.arange(9)
    data = D.Subset(D.TensorDataset(pd.tensor(x), y), [8, 2, 4, 6])
    ours = list(D.DataLoader(data, batch_size=3))
    assert isinstance(ours[0], list)
    np.testing.assert_array_equal(np.concatenate([b[0].numpy() for b in ours]), x[[8, 2, 4, 6]])
    assert [b[1].tolist() for b in ours] == [[8, 2, 4], [6]]
    singly = list(D.DataLoader(data, batch_size=3, collate_fn=lambda samples: D.default_collate(samples)))
    assert [plain(b) for b in singly] == [plain(b) for b in ours]


@pytest.mark.parametrize("lengths", [[7, 3], [0.7, 0.3], [0.35, 0.35, 0.3], [10], [0.25, 0.75]])
def test_random_split(torch, lengths):
    parts = D.random_split(range(10), lengths, pd.Generator().manual_seed(1))
    theirs = torch.utils.data.random_split(range(10), lengths)
    assert [len(p) for p in parts] == [len(p) for p in theirs]
    assert sorted(k for p in parts for k in p) == list(range(10))
    again = D.random_split(range(10), lengths, pd.Generator().manual_seed(1))
    assert [list(p) for p in parts] == [list(p) for p in again]


# ---- samplers


@pytest.mark.parametrize("n, replicas", [(10, 3), (2, 4), (9, 3), (1, 1)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_distributed_sampler(torch, n, replicas, drop_last):
    for rank in range(replicas):
        for shuffle in (False, True):
            options = dict(num_replicas=replicas, rank=rank, shuffle=shuffle, drop_last=drop_last)
            ours = D.DistributedSampler(range(n), **options)
            theirs = torch.utils.data.DistributedSampler(range(n), **options)
            assert len(ours) == len(theirs) == len(list(ours))
            if not shuffle:
                assert list(ours) == list(theirs)
    shuffled = [D.DistributedSampler(range(n), replicas, rank, drop_last=drop_last) for rank in range(replicas)]
    if not drop_last:
        assert set().union(*map(set, shuffled)) == set(range(n))
    ours = D.DistributedSampler(range(100), 2, 0)
    first = list(ours)
    assert list(ours) == first
    ours.set_epoch(1)
    assert list(ours) != first


@pytest.mark.parametrize("n, options", [(10, {}), (10, {"num_samples": 25}), (10, {"num_samples": 4}),
                                        (5, {"replacement": True, "num_samples": 70})])  # fmt: skip
def test_random_sampler(torch, n, options):
    make = lambda seed: D.RandomSampler(range(n), **options, generator=pd.Generator().manual_seed(seed))  # noqa: E731
    theirs = torch.utils.data.RandomSampler(range(n), **options)
    order = list(make(0))
    assert len(order) == len(make(0)) == len(theirs) == len(list(theirs))
    assert order == list(make(0)) and order != list(make(1))
    assert set(order) <= set(range(n))
    if not options.get("replacement"):
        for k in range(0, len(order), n):
            assert len(set(order[k : k + n])) == len(order[k : k + n])


def test_weighted_and_batch_samplers(torch):
    g = pd.Generator().manual_seed(0)
    drawn = list(D.WeightedRandomSampler([1, 0, 3], 4000, generator=g))
    assert 1 not in drawn and 0.72 < drawn.count(2) / 4000 < 0.78
    assert sorted(D.WeightedRandomSampler([1, 1, 3], 3, replacement=False, generator=g)) == [0, 1, 2]
    for drop_last in (False, True):
        for n in (0, 6, 7):
            ours = D.BatchSampler(range(n), 3, drop_last)
            theirs = torch.utils.data.BatchSampler(range(n), 3, drop_last)
            assert list(ours) == list(theirs) and len(ours) == len(theirs)


# ---- collate

SAMPLES = {
    "floats": [1.0, 2.5],
    "integers": [1, 2],
    "bools": [True, False],
    "text": ["a", "b"],
    "bytes": [b"a", b"b"],
    "arrays": [np.arange(6, dtype=np.int16).reshape(2, 3).T, np.ones((3, 2), np.int16)],
    "numbers of NumPy": [np.float32(1), np.float32(2)],
    "no dimension": [np.array(1, np.uint8), np.array(2, np.uint8)],
    "dicts": [{"a": 1, "b": np.zeros(2)}, {"b": np.ones(2), "a": 2}],
    "ordered": [OrderedDict(a=1), OrderedDict(a=2)],
    "named tuples": [Pair(1, "a"), Pair(2, "b")],
    "tuples": [(1, [2.0, "x"]), (3, [4.0, "y"])],
    "empty": [(), ()],
    "big-endian": [np.arange(2, dtype=">i4"), np.arange(2, dtype=">i4")],
}


@pytest.mark.smoke
@pytest.mark.parametrize("kind", SAMPLES)
def test_collate_as_pytorchs(torch, kind):
    samples = SAMPLES[kind]
    ours = D.default_collate(samples)
    theirs = torch.utils.data.default_collate([s.astype("i4") for s in samples] if kind == "big-endian" else samples)
    assert plain(ours) == plain(theirs)
    assert type(ours) in (type(theirs), pd.Tensor)
    if isinstance(ours, pd.Tensor):
        assert str(ours.dtype).rpartition(".")[2] == str(theirs.dtype).rpartition(".")[2]


class Refilled(D.Dataset):
    """One array, filled again for each sample."""

    def __init__(self, made):
        self.array, self.made = np.zeros(2, np.float32), made

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.array[:] = index
        return self.made(self.array)


@pytest.mark.parametrize("made, size", [(pd.from_numpy, 1), (lambda a: pd.from_numpy(a).clone(), 2), (lambda a: a.copy(), 2)])
def test_a_batch_keeps_its_values(made, size):
    batches = list(D.DataLoader(Refilled(made), batch_size=size))
    assert [row[0] for batch in batches for row in batch.tolist()] == [0.0, 1.0, 2.0, 3.0]


def test_collate_of_other_libraries_tensors_and_records(torch):
    ours = D.default_collate([{"x": torch.ones(2, requires_grad=True)}, {"x": torch.zeros(2)}])
    assert isinstance(ours["x"], pd.Tensor) and ours["x"].tolist() == [[1, 1], [0, 0]]
    half = D.default_collate([torch.ones(2, dtype=torch.bfloat16)] * 2)
    assert half.dtype == pd.bfloat16
    records = D.default_collate([Record(pd.ones(2), "a"), Record(pd.zeros(2), "b")])
    assert isinstance(records, Record) and records.label == ["a", "b"] and tuple(records.x.shape) == (2, 2)
    assert D.default_convert({"x": torch.ones(2), "y": [np.float32(2)], "z": "a"})["x"].tolist() == [1, 1]
    x = pd.ones(2, requires_grad=True)
    D.default_collate([x * 2, x * 3]).sum().backward()
    assert x.grad.tolist() == [5, 5]


WRONG = {
    "shapes": ([{"a": [np.ones(2)]}, {"a": [np.ones(3)]}], ValueError, r"shapes differ at sample\['a'\]\[0\]; got \(2,\) and \(3,\)"),
    "tensors": ([(1, pd.ones(2)), (2, pd.ones(2)), (3, pd.ones(1))], ValueError, r"sample\[1\]; got .* \(samples 0 and 2\)"),
    "keys": ([{"a": 1}, {"b": 1}], ValueError, "keys differ; got"),
    "lengths": ([(1, 2), (1,)], ValueError, "lengths differ; got 2 and 1"),
    "kinds": ([Pair(1, 2), Pair(1, "x")], TypeError, r"kinds differ at sample\.y; got int and str"),
    "none": ([{"a": None}], TypeError, r"at sample\['a'\]; got NoneType; try a dataset that returns no None"),
    "objects": ([np.array(["a"])], TypeError, "dtype <U1"),
    "beyond": ([2**70, 1], ValueError, "beyond int64"),
    "record": ([Record(1, "a"), 3], ValueError, r"a field is missing at sample\.x"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_collate_names_what_is_wrong(kind):
    samples, error, text = WRONG[kind]
    with pytest.raises(error, match=r"^\[default_collate\] .*" + text) as found:
        D.default_collate(samples)
    assert "; got " in str(found.value) and "; try " in str(found.value)


ERRORS = {
    "TensorDataset": (lambda: D.TensorDataset(pd.ones(2), pd.ones(3)), ValueError),
    "StackDataset": (lambda: D.StackDataset([1], [1, 2]), ValueError),
    "ConcatDataset": (lambda: D.ConcatDataset([]), ValueError),
    "random_split": (lambda: D.random_split(range(3), [1, 1]), ValueError),
    "RandomSampler": (lambda: D.RandomSampler(range(3), num_samples=0), ValueError),
    "WeightedRandomSampler": (lambda: D.WeightedRandomSampler([[1.0]], 2), ValueError),
    "BatchSampler": (lambda: D.BatchSampler(range(3), 0, False), ValueError),
    "DistributedSampler": (lambda: D.DistributedSampler(range(3)), ValueError),
    "Dataset": (lambda: D.Dataset()[0], NotImplementedError),
    "ArrayDataset": (lambda: D.ArrayDataset(np.ones(2), np.ones(3)), ValueError),
    "DataLoader": (lambda: D.DataLoader(3), TypeError),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, error = ERRORS[name]
    with pytest.raises(error, match=rf"^\[{name}\] .*; got .*; try ") as found:
        call()
    assert found.value.args[0].isascii()


# ---- readers


def test_array_files(tmp_path, rng):
    x, y = rng.standard_normal((7, 3)).astype(np.float32), np.arange(7)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "small.npz", x=x, y=y)
    pair = D.ArrayDataset(tmp_path / "x.npy", tmp_path / "y.npy")
    assert isinstance(pair.arrays[0], np.memmap)
    assert pair[-1][1] == 6 and len(pair) == 7
    for file in ("both.npz", "small.npz"):
        named = D.ArrayDataset(tmp_path / file)
        assert isinstance(named.arrays[0], np.memmap) == (file == "both.npz")
        batch = next(iter(D.DataLoader(named, batch_size=4, shuffle=True)))
        np.testing.assert_array_equal(batch["x"].numpy(), x[batch["y"].numpy()])
        np.testing.assert_array_equal(named[2]["x"], x[2])
    with pytest.raises(IndexError, match=r"^\[ArrayDataset\]"):
        pair[7]
    batches = list(D.DataLoader(pair, batch_size=4, num_workers=1, multiprocessing_context="fork"))
    np.testing.assert_array_equal(np.concatenate([b[0].numpy() for b in batches]), x)


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_tables(tmp_path, package, monkeypatch):
    pytest.importorskip(package)
    other = {"pandas": "pyarrow", "pyarrow": "pandas"}[package]
    find = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name: find("no_such_package" if name.startswith(other) else name)
    )  # fmt: skip
    file = tmp_path / "t.csv"
    file.write_text("a,b,c\n1,0.5,x\n2,,y\n")
    table = D.read_csv(file)
    assert table["a"].tolist() == [1, 2] and table["c"] == ["x", "y"]
    assert table["b"][0].item() == 0.5 and np.isnan(table["b"][1].item())
    assert list(D.read_csv(file, columns=["c", "a"])) == ["c", "a"]
    with pytest.raises(ValueError, match=r"^\[read_csv\] no such column; got 'd'; try one of 'a'"):
        D.read_csv(file, columns=["d"])


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_parquet(tmp_path, package, monkeypatch):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip(package)
    parquet.write_table(arrow.table({"a": [1, 2], "b": [0.5, None], "c": ["x", "y"]}), tmp_path / "t.parquet")
    find = importlib.import_module
    hidden = "pyarrow.parquet" if package == "pandas" else "pandas"
    monkeypatch.setattr(importlib, "import_module", lambda name: find("no_such_package" if name == hidden else name))
    table = D.read_parquet(tmp_path / "t.parquet")
    assert table["a"].tolist() == [1, 2] and table["c"] == ["x", "y"] and np.isnan(table["b"][1].item())
    assert list(D.read_parquet(tmp_path / "t.parquet", columns=["c"])) == ["c"]
    with pytest.raises(ValueError, match=r"^\[read_parquet\] .*; got .*'d'.*; try "):
        D.read_parquet(tmp_path / "t.parquet", columns=["d"])


@pytest.mark.parametrize("read", [D.read_csv, D.read_parquet])
def test_tables_say_what_to_install(read, monkeypatch):
    find = importlib.import_module

    def none(name):
        return find("no_such_package" if name.partition(".")[0] in ("pandas", "pyarrow") else name)

    monkeypatch.setattr(importlib, "import_module", none)
    with pytest.raises(ImportError, match=r"^\[read_\w+\] .* is needed; got no such package; try pip install "):
        read("t")


def test_image_folder(tmp_path, rng):
    Image = pytest.importorskip("PIL.Image")
    pictures = {}
    for name in ("dog", "cat"):
        (tmp_path / name / "deep").mkdir(parents=True)
        for path in (tmp_path / name / "1.png", tmp_path / name / "deep" / "2.PNG"):
            array = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            Image.fromarray(array).save(path)
            pictures[str(path)] = array
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    folder = D.ImageFolder(tmp_path)
    assert folder.classes == ["cat", "dog"] and folder.targets == [0, 0, 1, 1]
    for (path, number), (image, target) in zip(folder.samples, folder):
        assert number == target and image.dtype == pd.uint8
        np.testing.assert_array_equal(image.numpy(), pictures[path].transpose(2, 0, 1))
    images, targets = next(iter(D.DataLoader(folder, batch_size=4, num_workers=1, multiprocessing_context="fork")))
    assert tuple(images.shape) == (4, 3, 4, 5) and targets.tolist() == [0, 0, 1, 1]
    (tmp_path / "dog" / "bad.png").write_bytes(b"\x89PNG no")
    with pytest.raises(ValueError, match=r"^\[ImageFolder\] this is no image; got .*bad\.png.*; try "):
        list(D.ImageFolder(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^\[ImageFolder\] there are no folders of classes; got "):
        D.ImageFolder(tmp_path / "cat" / "deep")
