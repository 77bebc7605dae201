"""Train the segmenter on generated slices.

    python -m training                          # goes on from training/weights/segmenter.pt, for ever; Ctrl-C ends it
    python -m training --steps 5000 --rate-to 1e-4
    python -m training --afresh --out runs/other
    python -m training --device cuda --workers 15 --batch 64 --new 24 --kept 400000 --parts 0 --minutes 9

Every few minutes the state lies in OUT/state.pt, and OUT/log.csv has a line. A run that ends (steps, minutes, SIGINT,
SIGTERM) leaves OUT/segmenter.pt too, which is what `training/weights/` holds; `python -m training.export` makes the
node's model of it.
"""

import argparse
import csv
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from node.analysis.network import WINDOW, Class
from training import checkpoint
from training.checkpoint import State
from training.pool import Pool
from training.slices import HELD_OUT, Pair, pair
from training.source import CHUNK, Source

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "weights" / "segmenter.pt"
PART = (112, 128)  # rows and columns of a part of the window
WARM = 200  # steps until the rate is whole
MOST_DUE = 4 * CHUNK  # slices that are caught up with, once there are more
HELD_OUT_SLICES, _AT_ONCE = 64, 8
SIDES = {
    "left": (Class.MULTIFIDUS_LEFT, Class.ERECTOR_LEFT),
    "right": (Class.MULTIFIDUS_RIGHT, Class.ERECTOR_RIGHT),
}


def loss_of(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return cross entropy plus one minus Dice, mean over the classes of the batch."""
    probability = logits.softmax(1)
    one_hot = nn.functional.one_hot(truth, len(Class)).permute(0, 3, 1, 2).float()
    both = (probability * one_hot).sum((0, 2, 3))
    dice = ((2 * both + 1) / ((probability + one_hot).sum((0, 2, 3)) + 1))[1:].mean()
    return nn.functional.cross_entropy(logits, truth) + 1 - dice


def learn(state: State, image: torch.Tensor, truth: torch.Tensor, rate: float, device: str) -> torch.Tensor:
    """Make one step and return its loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    image = image.to(memory_format=torch.channels_last)
    state.net.train()
    with torch.autocast(device, torch.bfloat16):
        logits = state.net(image)
    loss = loss_of(logits.float(), truth)
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.net.parameters(), 2.0)
    state.optimizer.step()
    state.steps += 1
    state.follow()
    return loss.detach()


def held_out_dice(state: State, pairs: list[Pair], device: str) -> dict[str, float]:
    """Return Dice of the posterior compartment by side, over all held-out slices together, for the mean weights."""
    overlap, total = dict.fromkeys(SIDES, 0), dict.fromkeys(SIDES, 0)
    state.mean.eval()
    for begin in range(0, len(pairs), _AT_ONCE):
        part = pairs[begin : begin + _AT_ONCE]
        image = torch.from_numpy(np.stack([one for one, _ in part])).float().to(device)
        with torch.no_grad():
            found = state.mean(image).argmax(1).cpu().numpy()
        truth = np.stack([one for _, one in part])
        for side, classes in SIDES.items():
            a, b = np.isin(found, classes), np.isin(truth, classes)
            overlap[side] += 2 * int((a & b).sum())
            total[side] += int(a.sum()) + int(b.sum())
    return {side: overlap[side] / max(1, total[side]) for side in SIDES}


def _part(image: torch.Tensor, truth: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a part of each window, at another place each time: less to learn from, and less time."""
    row = int(rng.integers(WINDOW[0] // 16, WINDOW[0] - PART[0] + 1))
    column = int(rng.integers(0, WINDOW[1] - PART[1] + 1))
    rows, columns = slice(row, row + PART[0]), slice(column, column + PART[1])
    return image[:, :, rows, columns], truth[:, rows, columns]


class _Stop:
    """True once somebody wants the run to end."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True


def main() -> None:
    """Train until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "runs" / "latest")
    parser.add_argument(
        "--resume", type=Path, default=None, help="a state to go on from, instead of OUT's or the repository's"
    )
    parser.add_argument("--afresh", action="store_true", help="begin with random weights")
    parser.add_argument("--steps", type=int, default=10**9, help="of this run")
    parser.add_argument("--minutes", type=float, default=1e9, help="of this run")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="of learning, at the beginning of this run")
    parser.add_argument("--rate-to", type=float, default=None, help="at its end; falls by a cosine")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw slices")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="slices a step")
    parser.add_argument("--new", type=float, default=2, help="slices a step that are new, if drawn by then")
    parser.add_argument("--kept", type=int, default=2400, help="slices that may be taken again, 0.1 MB each")
    parser.add_argument("--parts", type=float, default=0.7, help="share of the steps that see but a part of the window")
    parser.add_argument("--every", type=int, default=500, help="steps from log line to log line")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    torch.backends.cudnn.benchmark = True  # all batches are of one size, or of two
    torch.manual_seed(0)
    wanted.out.mkdir(parents=True, exist_ok=True)
    state = _begin(wanted)
    stop, begin = _Stop(), time.monotonic()
    rng = np.random.default_rng(state.slices)
    source, pool = Source(state.slices, workers=wanted.workers), Pool(wanted.kept, wanted.device)
    held_out = [pair(HELD_OUT + i) for i in range(HELD_OUT_SLICES)]
    for _ in range(math.ceil(4 * wanted.batch / CHUNK)):
        pool.add(next(source))
        state.slices += CHUNK
    due = 0.0
    losses: list[torch.Tensor] = []
    first_step, gone = state.steps, 0.0
    while gone < 1 and not stop.asked:
        gone = max((state.steps + 1 - first_step) / wanted.steps, (time.monotonic() - begin) / (60 * wanted.minutes))
        rate_to = wanted.rate if wanted.rate_to is None else wanted.rate_to
        rate = rate_to + (wanted.rate - rate_to) * (1 + np.cos(np.pi * min(gone, 1))) / 2
        rate *= min(1.0, (state.steps - first_step + 1) / WARM)
        while due >= CHUNK and source.ready():
            pool.add(next(source))
            state.slices += CHUNK
            due -= CHUNK
        due = min(due + wanted.new, MOST_DUE)
        image, truth = pool.batch(rng, wanted.batch)
        if rng.random() < wanted.parts:
            image, truth = _part(image, truth, rng)
        losses.append(learn(state, image, truth, float(rate), wanted.device))
        if state.steps % wanted.every == 0 or gone >= 1 or stop.asked:
            loss, dice = float(torch.stack(losses).mean()), held_out_dice(state, held_out, wanted.device)
            losses.clear()
            _note(wanted.out, state, rate, loss, dice, time.monotonic() - begin)
            checkpoint.save(state, wanted.out / "state.pt")
            checkpoint.save_small(state, wanted.out / "segmenter.pt")


def _begin(wanted: argparse.Namespace) -> State:
    if wanted.afresh:
        return checkpoint.fresh(wanted.rate, wanted.device)
    begins = (wanted.resume,) if wanted.resume else (wanted.out / "state.pt", WEIGHTS)
    for path in begins:
        if path == wanted.resume or path.exists():
            state = checkpoint.load(path, wanted.rate, wanted.device)
            print(f"goes on from {path.name}: {state.steps} steps, {state.slices} slices", flush=True)
            return state
    return checkpoint.fresh(wanted.rate, wanted.device)


def _note(out: Path, state: State, rate: float, loss: float, dice: dict[str, float], seconds: float) -> None:
    path = out / "log.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["steps", "slices", "seconds", "rate", "loss", "dice left", "dice right"])
        writer.writerow([
            state.steps, state.slices, round(seconds), f"{rate:.2e}", f"{loss:.4f}",
            f"{dice['left']:.4f}", f"{dice['right']:.4f}",
        ])  # fmt: skip
    print(
        f"step {state.steps}: loss {loss:.3f}, held-out Dice {dice['left']:.3f} {dice['right']:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
