"""Index errors on a device, which nobody waits for: who is told, when, and which values raise. On late streams."""

import textwrap

import pytest

from late_streams import run

pytest.importorskip("pydiff")

BAD = """
def bad(offset=9):
    x = pd.arange(5, device="cuda", dtype=pd.float32)
    y = x[pd.tensor([0, offset], device="cuda")]   # the line
    pd._C.evaluate([y])
    return y

def good(k=1):
    y = pd.arange(5, device="cuda")[pd.tensor([k], device="cuda")]
    pd._C.evaluate([y])
    return y

TEXT = r"index out of range; got {} for an axis of size 5; try .*; recorded at <string>:{}"
LINE = next(k for k, l in enumerate(SOURCE.splitlines(), 1) if l.endswith("# the line"))
def raises(offset=9):
    return pytest.raises(IndexError, match=TEXT.format(offset, LINE))
"""


def check(body, **variables):
    source = textwrap.dedent(BAD) + textwrap.dedent(body)
    return run(f"SOURCE = {source!r}\nexec(compile(SOURCE, '<string>', 'exec'), globals())\n", **variables)


def test_a_plan_with_an_index_does_not_wait():
    check("""
    y = good()
    e = cuda.Event()
    e.record()
    assert pd._C.state_of(y) == "ready" and not e.query()
    assert y.tolist() == [1]
    """)


def test_reading_raises_and_raises_again():
    check("""
    y = bad()
    assert pd._C.state_of(y) == "ready"      # nobody knows yet
    for read in (y.numpy, y.tolist, y.cpu, lambda: print(y), lambda: y.to("cuda:1").numpy(), lambda: bool(y.sum() > 0),
                 lambda: y[0].item(), lambda: memoryview(y), lambda: y.__dlpack__(), lambda: y.__cuda_array_interface__,
                 lambda: (y + 1).sum().item()):
        with raises():
            read()
    assert (good() + 1).tolist() == [2]      # nothing else is affected
    cuda.synchronize()
    """)


def test_the_next_call_that_waits_is_told_once():
    check("""
    z = good()
    bad()
    with raises():
        z.numpy()            # another value: it is told, once
    assert z.tolist() == [1]
    bad(7), bad(-6)          # two errors, each of them told
    with raises(7):
        cuda.synchronize()
    with raises(-6):
        cuda.synchronize()
    cuda.synchronize()
    bad()
    e = cuda.Event()
    e.record()
    with raises():
        e.synchronize()
    e.synchronize()
    bad()
    with raises():
        cuda.Stream().synchronize()
    """)


def test_the_next_evaluation_that_finds_it_done():
    check("""
    y = bad()
    for _ in range(50):      # the stand-in's events are done when they have been asked for often enough
        try:
            pd._C.evaluate([pd.ones(2, device="cuda") * 2])
        except IndexError as error:
            assert "got 9" in str(error)
            break
    else:
        raise AssertionError("nobody was told")
    assert (pd.ones(2) + 1).tolist() == [2, 2]
    with raises():
        pd._C.evaluate([y * 2])
    """)


def test_what_was_computed_from_it_raises():
    """Before anybody knew: by several steps, joined with good values and other suspects, on another device."""
    check("""
    y, z = bad(), good()
    a = y * 2
    pd._C.evaluate([a])
    both = a.sum() + z
    pd._C.evaluate([both])
    other = z + good(3)
    pd._C.evaluate([other])
    there = a.to("cuda:1") + 1
    pd._C.evaluate([there])
    w = pd.zeros(3, device="cuda") + 1
    pd._C.evaluate([w])
    with raises():
        w.numpy()
    for value in (a, both, there, y):
        with raises():
            value.numpy()
        with raises():
            (value + 1).numpy()
    assert other.tolist() == [4] and z.tolist() == [1] and w.tolist() == [1] * 3
    """)


def test_training_with_indices_leaves_nothing_behind():
    """Each step depends on the one before; values are good, and the numbers of runs are given up."""
    check("""
    table = pd.ones(10, 4, device="cuda", requires_grad=True)
    here = pd.ones(10, 4, requires_grad=True)
    opt, opt_here = pd.optim.SGD([table], lr=0.1), pd.optim.SGD([here], lr=0.1)
    for step in range(30):
        index = [step % 10, (3 * step) % 10]
        for t, o in ((table, opt), (here, opt_here)):
            o.zero_grad()
            (t[pd.tensor(index, device=t.device)] ** 2).sum().backward()
            o.step()
    np.testing.assert_array_equal(table.detach().numpy(), here.detach().numpy())
    cuda.synchronize()
    assert pd._C.late_error_count() == 0
    """)


def test_reported_when_the_process_ends():
    done = check("bad(8)")
    assert "not raised before the end: IndexError: [index] index out of range; got 8 for an axis of size 5" in done.stderr
    assert "recorded at <string>:" in done.stderr
    assert check("good().tolist()").stderr == ""


def test_threads():
    check("""
    told = []
    def work(k):
        for step in range(10):
            try:  # an evaluation may be told of another thread's error
                y = bad(10 + k) if step == 5 else good(k % 5)
                y.numpy()
            except IndexError as error:
                told.append(str(error))
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for _ in threads:  # and one may have been told of after everything
        try:
            pd.cuda.synchronize()
        except IndexError as error:
            told.append(str(error))
    for k in range(4):
        assert any(f"got {10 + k} " in text for text in told), told
    """)
