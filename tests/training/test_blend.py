"""Blending two states: the mean that was asked for, and what it was made of."""

import hashlib
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_blend_is_the_mean_that_was_asked_for_and_names_both_files(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[training]'")
    from training import checkpoint
    from training.blend import blend

    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    for path, value, steps in ((one, 1.0, 10), (other, 3.0, 20)):
        state = checkpoint.fresh(0.0)
        for weights in state.mean.parameters():
            torch.nn.init.constant_(weights, value)
        state.steps = steps
        checkpoint.save_small(state, path)

    torch.save(blend(one, other, 0.75), tmp_path / "blended.pt")

    found = checkpoint.load(tmp_path / "blended.pt", 0.0)
    assert {
        float(value) for net in (found.net, found.mean) for part in net.parameters() for value in part.detach().unique()
    } == {2.5}
    assert found.steps == 20
    made = torch.load(tmp_path / "blended.pt", weights_only=True)["blended"]
    assert made == {
        "one": hashlib.sha256(one.read_bytes()).hexdigest(),
        "other": hashlib.sha256(other.read_bytes()).hexdigest(),
        "share": 0.75,
    }
