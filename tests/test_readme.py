"""What the README says is true: its code runs, its commands are those that CI runs, its links lead somewhere."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


@pytest.fixture(scope="module")
def tour():
    """The output of each block of the tour; they share their names, as in one session."""
    names, outputs = {"__name__": "readme"}, []
    for source in blocks("python"):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(source, "README.md", "exec"), names)
        outputs.append(out.getvalue())
    return names, outputs


@pytest.mark.smoke
def test_the_tour_runs(tour):
    assert len(blocks("python")) >= 6
    for source, output in zip(blocks("python"), tour[1]):
        assert output.strip(), f"nothing printed by:\n{source}"


def test_the_tour_is_right(tour):
    names, _ = tour
    assert names["y"].tolist() == [8.0, 16.0]
    assert names["w"].grad.shape == (2,)
    assert names["error"].item() < 0.9
    pd, f = names["pd"], names["f"]
    assert pd.grad(f)(pd.tensor([1.0, 2.0])).tolist() == [3.0, 12.0]
    assert pd.hessian(f)(pd.tensor([1.0, 2.0])).tolist() == [[6.0, 0.0], [0.0, 12.0]]
    assert tuple(names["per_example"](names["w"].detach(), names["x"]).shape) == (2, 2)


def test_gelu_of_the_tour_is_one_kernel(tour):
    names, _ = tour
    pd = names["pd"]
    t = pd.randn(100_000)
    t.numpy()
    text = pd._C.explain([names["gelu"](t).sum()])
    assert len(re.findall(r"^kernel ", text, re.M)) == 1, text


def test_the_two_commands():
    install, test = blocks("sh")
    assert "python3 -m venv .venv" in install and "examples/train_digits.py" in install
    assert test.strip().endswith("-m pytest")
    # CI takes the second block from here; see .ci/run.
    assert "n == 2' README.md" in (ROOT / ".ci" / "run").read_text()


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_kernel_of_the_cuda_page_runs():
    """Its operation, against NumPy, and its derivatives."""
    import numpy as np

    pd = pytest.importorskip("pydiff")
    page = (ROOT / "docs" / "CUDA.md").read_text()
    (block,) = [b for b in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "custom_op" in b]
    names = {"pd": pd}
    exec(compile(block, "CUDA.md", "exec"), names)
    assert names["y"].shape == (1000, 64)
    x = pd.randn(3, 4)
    np.testing.assert_allclose(names["scan"](x).numpy(), np.cumsum(x.numpy(), axis=1), rtol=1e-5, atol=1e-6)
    pd.testing.check_grads(names["scan"], modes=("rev",))(x)
