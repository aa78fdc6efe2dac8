"""What docs/TORCH.md says agrees with PyTorch does, on PyTorch's own samples; the page is as the code writes it."""

import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch_samples  # noqa: E402

ENTRIES = {torch_samples.title(entry): entry for entry in torch_samples.entries()}
AGREEING = torch_samples.agreeing()


def test_the_page_lists_entries_of_the_installed_pytorch():
    assert len(AGREEING) >= 520
    import torch

    if f"PyTorch {torch.__version__.partition('+')[0]}:" in torch_samples.PAGE.read_text(encoding="utf-8"):
        assert set(AGREEING) <= set(ENTRIES)


@pytest.mark.parametrize("name", AGREEING)
def test_entry(name):
    if name not in ENTRIES:
        pytest.skip("another PyTorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = torch_samples.outcome(ENTRIES[name])
    assert result.state == torch_samples.AGREES and result.samples > 0, result.why
