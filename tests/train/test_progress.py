"""The live line: what it says, when it looks at values, and that it keeps out of the way."""

import io

import pytest

import pydiff as pd
from pydiff import _core
from pydiff.train import _progress, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(_progress, "_now", lambda: now[0])
    return now


def test_plain_lines(clock):
    out = io.StringIO()
    bar = progress(range(8), desc="epoch 1", size=32, unit="samples", every=2, file=out)
    for k in bar:
        clock[0] += 1
        bar.log(loss=1 / (k + 1), note="text")
    lines = out.getvalue().splitlines()
    assert lines[0] == "epoch 1   25%  64/256  32 samples/s  0:02<0:06  loss 0.5  note text"
    assert lines[-1].startswith("epoch 1  100%  256/256  32 samples/s  0:08<0:00  loss 0.125")
    assert len(lines) == 5


def test_a_line_that_is_rewritten(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    out = Terminal()
    for _ in progress(range(4), every=1, file=out, style="line"):
        clock[0] += 1
    parts = out.getvalue().split("\r")
    assert parts[0] == "" and out.getvalue().endswith("\n")
    assert "|█████               |   25%  1/4  1 it/s  0:01<0:03" in parts[1]
    assert all(len(part.rstrip("\n")) == 69 for part in parts[1:])


def test_without_a_length(clock):
    out = io.StringIO()
    bar = progress(iter("abc"), every=1, file=out)
    for _ in bar:
        clock[0] += 3600
    assert out.getvalue().splitlines()[0] == "1  0.000278 it/s  1:00:00"
    with pytest.raises(TypeError, match=r"^\[progress\] the number of items is not known; got .*; try total="):
        len(bar)
    assert len(progress(iter("abc"), total=3)) == 3


def test_speed_is_that_of_late(clock):
    bar = progress(range(100), every=1, style="plain", file=io.StringIO())
    for k in bar:
        clock[0] += 10 if k == 0 else 1
    assert bar.rate == 1


@pytest.mark.parametrize("style", ["plain", "line", "off"])
def test_lazy_values_are_looked_at_only_when_shown(clock, style):
    def computed():
        return _core._C.exec_stats()["kernels"] + _core._C.exec_stats()["replays"] + _core._C.exec_stats()["plans"]

    x = pd.rand(10)
    x.sum().item()
    out, seen = io.StringIO(), []
    bar = progress(range(20), every=5, file=out, style=style)
    for k in bar:
        clock[0] += 1
        before = computed()
        bar.log(loss=(x * k).sum())
        seen.append(computed() - before)
    assert sum(seen) == 0
    assert (style == "off") == (out.getvalue() == "")
    assert out.getvalue().count("loss") == (0 if style == "off" else 5)  # 20 / 5, and the end


def test_no_tape_is_kept():
    w = pd.ones(3, requires_grad=True)
    bar = progress(range(2), style="off")
    for _ in bar:
        bar.log(loss=(w * 2).sum())
    assert not bar._values["loss"].requires_grad and bar.values() == {"loss": 6.0}


def test_leaving_early_and_errors_end_the_line(clock):
    out = Terminal()
    for k in progress(range(10), file=out, style="line"):
        if k == 3:
            break
    assert out.getvalue().endswith("\n")
    out = Terminal()
    with pytest.raises(KeyError):
        for _ in progress(range(10), file=out, style="line"):
            raise KeyError
    assert out.getvalue().endswith("\n")


def test_an_unknown_style():
    with pytest.raises(ValueError, match=r"^\[progress\] style is one of auto, .*; got 'fancy'; try 'auto'"):
        progress([], style="fancy")


@pytest.mark.parametrize("style", ["tqdm", "rich"])
def test_other_packages_bars(style):
    pytest.importorskip(style)
    out = Terminal()
    bar = progress(range(5), desc="epoch", size=2, unit="samples", every=0, file=out, style=style)
    for k in bar:
        bar.log(loss=pd.tensor(float(k)))
    assert "epoch" in out.getvalue() and "loss 4" in out.getvalue() and "10/10" in out.getvalue().replace("10.0", "10")


def test_auto_takes_a_line_or_a_bar_on_a_terminal_only(monkeypatch):
    monkeypatch.setattr(_progress.importlib.util, "find_spec", lambda name: None)
    assert type(progress([], file=Terminal())._shower) is _progress._Line
    assert type(progress([], file=io.StringIO())._shower) is _progress._Plain
    monkeypatch.setattr(_progress.importlib.util, "find_spec", lambda name: name == "rich")
    assert type(progress([], file=Terminal())._shower) is _progress._Rich
