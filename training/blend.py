"""Blend two states of one network into their weighted mean, which says what it was made of.

    python -m training.blend ONE OTHER --share 0.7 --out training/weights/segmenter.pt

The mean of the weights is blended; network and mean of the new state are both that blend. Steps and slices are those of
OTHER. Under "blended" the file keeps the SHA-256 of both files and the share of OTHER.
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import torch


def main() -> None:
    """Write the blend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--share", type=float, required=True, help="of OTHER, 0 to 1")
    parser.add_argument("--out", type=Path, required=True)
    wanted = parser.parse_args()
    if not 0 <= wanted.share <= 1:
        raise SystemExit("--share must be from 0 to 1")
    blended = blend(wanted.one, wanted.other, wanted.share)
    torch.save(blended, wanted.out)
    print(f"{wanted.out.name}: {blended['blended']}")


def blend(one: Path, other: Path, share: float) -> dict[str, Any]:
    """Return the state that is `share` of `other` and else `one`, as `checkpoint.load` reads it, in 16 bits."""
    first, second = (torch.load(path, map_location="cpu", weights_only=True) for path in (one, other))
    mean = {
        name: torch.lerp(first["mean"][name].float(), value.float(), share) for name, value in second["mean"].items()
    }
    halved = {name: value.half() for name, value in mean.items()}
    return {
        "net": halved, "mean": halved, "steps": second["steps"], "slices": second["slices"],
        "blended": {"one": _sha256(one), "other": _sha256(other), "share": share},
    }  # fmt: skip


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
