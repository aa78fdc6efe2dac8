"""Logs are read back, by our own reader and by TensorBoard's where it is installed."""

import csv
import doctest
import io
import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest

import pydiff as pd
from pydiff.train import _events, log


def values_of(path):
    """(step, tag, field number, bytes) of every value in an event file."""
    for content in _events.records(Path(path).read_bytes()):
        fields = _events.parse(content)
        for summary in fields.get(5, []):
            for value in _events.parse(summary)[1]:
                parts = _events.parse(value)
                (kind,) = parts.keys() - {1, 9}
                yield fields[2][0], parts[1][0].decode(), kind, parts[kind][0]


@pytest.fixture
def writer(tmp_path):
    with log.SummaryWriter(tmp_path / "run") as writer:
        yield writer


@pytest.mark.smoke
def test_the_checksum():
    """The vectors of RFC 3720, appendix B.4."""
    assert _events.crc32c(bytes(32)) == 0x8A9136AA
    assert _events.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert _events.crc32c(bytes(range(32))) == 0x46DD794E


def test_scalars(writer):
    writer.add_scalar("loss/train", 0.5, 1)
    writer.add_scalar("loss/train", pd.tensor([0.25]), 2, walltime=7.0)
    writer.add_scalar("accuracy", np.float32(0.75), 2)
    writer.add_scalar("large", 1e300, 2**40)
    writer.add_scalar("back", float("nan"), -3)
    writer.flush()
    rows = log.read_log(writer.path)
    assert [row["step"] for row in rows] == [-3, 1, 2, 2**40]
    assert rows[1] == {"step": 1, "loss/train": 0.5} and rows[2] == {"step": 2, "loss/train": 0.25, "accuracy": 0.75}
    assert math.isnan(rows[0]["back"]) and rows[3]["large"] == math.inf
    assert log.read_log(writer.log_dir)[1:] == rows[1:]
    first = _events.parse(next(_events.records(Path(writer.path).read_bytes())))
    assert first[3] == [b"brain.Event:2"]


def test_histograms(writer):
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    writer.add_histogram("w", pd.tensor(np.append(values, [np.nan, np.inf])).reshape(-1), 3)
    writer.add_histogram("even", np.arange(10), 3, bins=5)
    writer.add_histogram("none", np.zeros(0), 3)
    writer.flush()
    found = {tag: _events.parse(data) for _, tag, kind, data in values_of(writer.path) if kind == 5}
    w = found["w"]
    low, high, count, total, squares = (struct.unpack("<d", w[k][0])[0] for k in range(1, 6))
    assert (low, high, count) == (values.min(), values.max(), 1000)
    np.testing.assert_allclose([total, squares], [values.sum(dtype="f8"), np.square(values.astype("f8")).sum()])
    limits, counts = np.frombuffer(w[6][0]), np.frombuffer(w[7][0])
    assert len(limits) == len(counts) and counts.sum() == 1000 and counts[0] == 0 and counts[-1] > 0
    for k in (10, len(limits) // 2, -10):
        assert counts[: k + 1 if k >= 0 else len(counts) + k + 1].sum() == (values <= limits[k]).sum()
    np.testing.assert_allclose(np.frombuffer(found["even"][6][0]), [0, 1.8, 3.6, 5.4, 7.2, 9])
    assert np.frombuffer(found["even"][7][0]).tolist() == [0, 2, 2, 2, 2, 2]


def test_text_and_images(writer):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    writer.add_text("notes", "# Größe\n*one*", 4)
    writer.add_image("chw", pd.tensor(pixels.transpose(2, 0, 1)), 4)
    writer.add_image("hwc", pixels / 255.0, 4, dataformats="HWC")
    writer.add_image("grey", pd.tensor(pixels[..., 0]), 4, dataformats="HW")
    writer.add_image("mask", pixels[..., :1] > 99, 4, dataformats="HWC")
    writer.add_image("alpha", np.concatenate([pixels, pixels[..., :1]], -1), 4, dataformats="HWC")
    writer.flush()
    found = {tag: data for _, tag, _, data in values_of(writer.path)}
    tensor = _events.parse(found["notes/text_summary"])
    assert tensor[1] == [7] and tensor[8] == ["# Größe\n*one*".encode()]
    expected = {
        "chw": pixels, "hwc": pixels, "grey": pixels[..., 0], "mask": (pixels[..., 0] > 99) * 255,
        "alpha": np.concatenate([pixels, pixels[..., :1]], -1),
    }  # fmt: skip
    for tag, want in expected.items():
        proto = _events.parse(found[tag])
        assert (proto[1][0], proto[2][0]) == (5, 7)
        np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(proto[4][0]))), want)


def test_against_tensorboard(writer):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    values = np.random.default_rng(0).standard_normal(100)
    for step in range(3):
        writer.add_scalar("loss", 0.5**step, step)
    writer.add_histogram("w", values, 2)
    writer.add_text("notes", "text", 2)
    writer.add_image("image", np.zeros((3, 4, 5)), 2)
    writer.flush()
    events = accumulator.EventAccumulator(writer.log_dir, {"tensors": 0, "images": 0, "histograms": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()
    assert (
        tags["scalars"] == ["loss"]
        and tags["histograms"] == ["w"]
        and tags["images"] == ["image"]
        and tags["tensors"] == ["notes/text_summary"]
    )
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(0, 1.0), (1, 0.5), (2, 0.25)]
    (histogram,) = events.Histograms("w")
    assert histogram.histogram_value.num == 100 and sum(histogram.histogram_value.bucket) == 100
    assert (events.Images("image")[0].height, events.Images("image")[0].width) == (4, 5)
    assert events.Tensors("notes/text_summary")[0].tensor_proto.string_val == [b"text"]


def test_against_pytorchs_messages(torch_summary, writer):
    """The same histogram as PyTorch's writer makes, where TensorBoard's messages are installed."""
    values = np.random.default_rng(0).standard_normal(100)
    writer.add_histogram("w", values, 0)
    writer.flush()
    (ours,) = (_events.parse(data) for _, _, kind, data in values_of(writer.path) if kind == 5)
    theirs = torch_summary.histogram("w", values, bins=log._edges()).value[0].histo
    assert np.frombuffer(ours[6][0]).tolist() == list(theirs.bucket_limit)
    assert np.frombuffer(ours[7][0]).tolist() == list(theirs.bucket)


@pytest.fixture
def torch_summary():
    pytest.importorskip("tensorboard.compat.proto.summary_pb2")
    return pytest.importorskip("torch.utils.tensorboard.summary")


def test_damaged_and_cut_off_files(writer, tmp_path):
    for step in range(3):
        writer.add_scalar("a", step, step)
    writer.close()
    data = Path(writer.path).read_bytes()
    cut = tmp_path / "cut.tfevents.x"
    cut.write_bytes(data[:-5])
    assert [row["a"] for row in log.read_log(cut)] == [0, 1]
    damaged = bytearray(data)
    damaged[-8] ^= 1
    cut.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"^\[read_log\] a record is damaged; got .*; try"):
        log.read_log(cut)
    with pytest.raises(ValueError, match=r"^\[SummaryWriter\] the writer is closed; got .*; try"):
        writer.add_scalar("a", 1)


def test_wrong_calls(writer):
    with pytest.raises(ValueError, match=r"^\[add_scalar\] a scalar is one number; got float32 of shape \(2,\); try"):
        writer.add_scalar("a", pd.ones(2))
    with pytest.raises(ValueError, match=r"^\[add_image\] dataformats names the axes; got 'CHW' for shape \(2, 2\); try"):
        writer.add_image("a", np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"^\[add_image\] an image has 1, 3 or 4 channels; got 5 in CHW; try"):
        writer.add_image("a", np.zeros((5, 2, 2)))


def test_lines_of_json(tmp_path):
    path = tmp_path / "run.jsonl"
    with log.JSONLinesLog(path) as out:
        out.log(1, loss=pd.tensor(0.5), rate=float("nan"), sizes=np.arange(2), name="ü")
        assert json.loads(path.read_text())["loss"] == 0.5  # there at once, and sound JSON
    with log.JSONLinesLog(path) as out:
        out.log(2, loss=0.25)
    rows = log.read_log(path)
    assert math.isnan(rows[0].pop("rate"))
    assert rows == [{"step": 1, "loss": 0.5, "sizes": [0, 1], "name": "ü"}, {"step": 2, "loss": 0.25}]


def test_csv(tmp_path):
    path = tmp_path / "run.csv"
    with log.CSVLog(path) as out:
        out.log(1, loss=pd.tensor(0.5))
        out.log(2, loss=0.25, note='a "b", c\nd')
    with log.CSVLog(path) as out:
        out.log(3, note="x")
        out.log(4, more=float("inf"))
    assert log.read_log(path) == [
        {"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "note": 'a "b", c\nd'}, {"step": 3, "note": "x"}, {"step": 4, "more": math.inf},
    ]  # fmt: skip
    with open(path, newline="") as file:
        assert next(csv.reader(file)) == ["step", "loss", "note", "more"]


def test_curves(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    with log.CSVLog(tmp_path / "run.csv") as out:
        for step in range(20):
            out.log(step, loss=1 / (step + 1), **({"validation": 1.2 / (step + 1)} if step % 5 == 0 else {}))
    for k, options in enumerate([{}, {"smooth": 0.9, "log": True, "title": "run"}, {"names": ["loss"]}]):
        path = log.plot_curves(tmp_path / "run.csv", tmp_path / f"{k}.png", **options)
        assert np.asarray(image.open(path).convert("L")).std() > 1
    with pytest.raises(
        ValueError,
        match=r"^\[plot_curves\] there are no numbers of this name; got \['x'\]; try one of \['loss', 'validation'\]",
    ):
        log.plot_curves(tmp_path / "run.csv", tmp_path / "x.png", names=["x"])
    with pytest.raises(ValueError, match=r"^\[plot_curves\] smooth"):
        log.plot_curves([], tmp_path / "x.png", smooth=1)


def test_a_smoothed_curve_begins_where_the_curve_does():
    np.testing.assert_allclose(log._smoothed(np.array([4.0, np.nan, 4.0, 4.0]), [0.9] * 4), 4.0)
    np.testing.assert_allclose(log._smoothed(np.array([1.0, 2.0]), [0.5, 0.5]), [1.0, 5 / 3])


def test_the_examples_in_the_docstrings():
    tried = doctest.testmod(log)
    assert tried.attempted > 10 and not tried.failed
