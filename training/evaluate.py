"""How good the segmenter is: on held-out drawn slices, and on every real volume with labels that is at hand.

    python -m training.evaluate [--model FOLDER] [--slices 500] [--figures slices.csv] [--pictures FOLDER]

Dice of the posterior compartment (multifidus and erector spinae together), by side. Real volumes are read from
`../shared/data` beside the repository, where they are. None was trained on, but drawing, normalisation and limits were
chosen by them: they are development data, not an untouched test (docs/model-card.md).
"""

import argparse
import csv
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.body import body_mask
from node.analysis.network import PIXEL_MM, Class, Model, read_model, shipped_model
from node.analysis.seen import look
from node.analysis.structures import on_voxels
from node.analysis.unet import figures_of, judge
from training.anatomy import draw
from training.canvas import L1, S1, T2
from training.exposure import expose
from training.slices import HELD_OUT

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Array = npt.NDArray[np.float32]
Sides = npt.NDArray[np.uint8]
_LEFT = (Class.MULTIFIDUS_LEFT, Class.ERECTOR_LEFT)
_RIGHT = (Class.MULTIFIDUS_RIGHT, Class.ERECTOR_RIGHT)
PARTS = {"sacrum": S1 + 0.35, "lumbar": L1 + 0.5, "thoracic": T2 + 0.3, "neck": 99.0}  # up to this level of `canvas`
_FIRST_JUDGED = 1000  # held-out slices before it watch the training; these measure


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """A real volume in canonical order (head, back, left), with the sides that an expert or a model drew, if any."""

    name: str
    volume: Array
    spacing_mm: tuple[float, float, float]
    sides: Sides | None


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return the overlap of two masks, 1 if both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


# -- drawn slices


def drawn(model: Model, count: int) -> Iterator["Outcome"]:
    """Yield how held-out slices were segmented, each as a volume of one slice, by part of the spine."""
    parts: dict[str, list[Outcome]] = {name: [] for name in PARTS}
    for seed in range(HELD_OUT + _FIRST_JUDGED, HELD_OUT + _FIRST_JUDGED + count):
        rng = np.random.default_rng(seed)
        anatomy = draw(rng)
        image, label = expose(rng, anatomy)
        sides = (np.isin(label, _LEFT) + 2 * np.isin(label, _RIGHT)).astype(np.uint8)
        part = next(name for name, highest in PARTS.items() if anatomy.level < highest)
        parts[part].append(measure(model, Real(part, image[None], (4.0, PIXEL_MM, PIXEL_MM), sides[None])))
    for name, ones in parts.items():
        if ones:
            yield _together(f"drawn, {name}", ones)
    yield _together("drawn, all", [one for ones in parts.values() for one in ones])


def _together(name: str, ones: list["Outcome"]) -> "Outcome":
    taken, judged, left, right = (
        np.concatenate([getattr(one, field) for one in ones]) for field in ("taken", "judged", "left", "right")
    )
    figures = {key: np.concatenate([one.figures[key] for one in ones]) for key in ones[0].figures}
    return Outcome(name, len(taken), taken, judged, left, right, figures)


# -- real volumes


def canonical(path: Path) -> tuple[Array, tuple[float, float, float]]:
    """Return a NIfTI volume in canonical order, and its spacing in that order."""
    image = nib.as_closest_canonical(nib.load(path))  # right to left is -x: RAS+ has x to the right
    x, y, z = (float(step) for step in image.header.get_zooms()[:3])
    array = np.asarray(image.dataobj, dtype=np.float32)
    return np.ascontiguousarray(array[::-1, ::-1].transpose(2, 1, 0)), (z, y, x)


def _sides(labels: Array, left: tuple[int, ...], right: tuple[int, ...]) -> Sides:
    whole = labels.round().astype(int)
    return (np.isin(whole, left) + 2 * np.isin(whole, right)).astype(np.uint8)


def labelled() -> Iterator[Real]:
    """Yield every real volume with labels that is at hand."""
    folder = DATA / "TUM_lumbar_dixon"
    if folder.exists():
        water, spacing_mm = canonical(folder / "TUM01_water_img_img_L2-L5.nii.gz")
        fat, _ = canonical(folder / "TUM01_fat_img_img_L2-L5.nii.gz")
        labels, _ = canonical(folder / "TUM01_fat_manual_label_segmentation_L2-L5.nii.gz")
        sides = _sides(labels, (3, 4), (1, 2))
        rng = np.random.default_rng(0)
        pairs = {"water": water, "fat": fat, "in phase": water + fat, "opposed": np.abs(water - fat)}
        for name, image in pairs.items():
            noise = rng.normal(0, 0.02 * np.median(image[image > 0]), image.shape)  # air is exactly 0 in the files
            yield Real(f"TUM01 {name}", np.clip(image + noise, 0, None).astype(np.float32), spacing_mm, sides)
    folder = DATA / "TotalSegmentator_samples"
    if folder.exists():
        volume, spacing_mm = canonical(folder / "example_mr_sm.nii.gz")
        labels, _ = canonical(folder / "example_seg_mr.nii.gz")  # a model's output, not an expert's
        yield Real("TotalSegmentator MR", np.clip(volume, 0, None), spacing_mm, _sides(labels, (46,), (47,)))
    yield from _ct()


def _ct() -> Iterator[Real]:
    folder = DATA / "TotalSegmentator_samples"
    if folder.exists():  # no MR, but one more anatomy with labels
        volume, spacing_mm = canonical(folder / "example_ct_sm.nii.gz")
        labels, _ = canonical(folder / "example_seg.nii.gz")
        yield Real("TotalSegmentator CT", np.clip(volume + 200, 0, 600), spacing_mm, _sides(labels, (86,), (87,)))


def unlabelled() -> Iterator[Real]:
    """Yield real volumes without labels, and some in which there is nothing to accept."""
    folder = DATA / "TUM_lumbar_dixon"
    if folder.exists():
        water = next(labelled())
        noise = np.random.default_rng(1).normal(0, 10, water.volume.shape)
        yield Real(
            "no back: TUM01 water turned by 90 degrees", np.rot90(water.volume, axes=(1, 2)), water.spacing_mm, None
        )
        yield Real("no back: TUM01 water upside down", water.volume[:, ::-1], water.spacing_mm, None)
        assert water.sides is not None
        bare = np.where(ndimage.binary_dilation(water.sides > 0, iterations=2), 60 + noise, water.volume)
        yield Real("no back: TUM01 water without its muscles", bare.astype(np.float32), water.spacing_mm, None)
        head, back, left = water.spacing_mm
        sagittal = np.ascontiguousarray(water.volume.transpose(2, 0, 1)[::8])
        yield Real("no back: TUM01 water in sagittal planes", sagittal, (8 * left, head, back), None)
    folder = DATA / "SCT_cervical_axial"
    if folder.exists():
        for name in ("ex_mt0", "ex_mt1", "t2s_uncropped"):
            volume, spacing_mm = canonical(folder / f"{name}.nii.gz")
            yield Real(f"SCT {name}", volume, spacing_mm, None)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Dice by slice and side of one volume, for slices with at least 200 mm2 a side; and which were accepted."""

    name: str
    count: int
    taken: npt.NDArray[np.bool_]
    judged: npt.NDArray[np.bool_]
    left: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    figures: dict[str, npt.NDArray[np.float64]]


def measure(model: Model, real: Real, pictures: Path | None = None) -> Outcome:
    """Return how a volume was segmented."""
    seen = look(model, real.volume, body_mask(real.volume, real.spacing_mm), real.spacing_mm)
    accepted, _ = judge(seen)
    muscles = on_voxels(seen.sides, real.volume.shape)
    truth = real.sides if real.sides is not None else np.zeros_like(muscles)
    pixel = real.spacing_mm[1] * real.spacing_mm[2]
    judged = np.array([min((one == 1).sum(), (one == 2).sum()) * pixel >= 200 for one in truth])
    left, right = (
        np.array([dice(a == side, b == side) for a, b in zip(muscles, truth, strict=True)]) for side in (1, 2)
    )
    if pictures is not None:
        _draw(pictures / f"{real.name.replace(' ', '_')}.png", real, muscles, truth, accepted)
    return Outcome(real.name, len(truth), accepted, judged, left, right, figures_of(seen))


def _draw(path: Path, real: Real, muscles: Sides, truth: Sides, accepted: npt.NDArray[np.bool_]) -> None:
    from PIL import Image

    tiles = []
    for k in np.linspace(0, len(truth) - 1, 8).round().astype(int):
        grey = np.clip(real.volume[k] / max(np.percentile(real.volume[k], 99.5), 1e-6), 0, 1) * 255
        tile = np.repeat(grey[..., None], 3, axis=2)
        for side, colour in ((1, (255, 80, 80)), (2, (80, 160, 255))):
            tile[muscles[k] == side] = tile[muscles[k] == side] * 0.6 + np.array(colour) * 0.4
        border = (truth[k] > 0) & ~_eroded(truth[k] > 0)
        tile[border] = (255, 255, 0)
        tile[:6, :40] = (0, 255, 0) if accepted[k] else (255, 0, 0)
        tiles.append(tile.astype(np.uint8))
    rows = [np.concatenate(tiles[i : i + 4], axis=1) for i in (0, 4)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def _eroded(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    inner = mask.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)
    return inner


def table_of(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield the lines of a table of outcomes, as each comes."""
    yield "| volume | slices with muscle | Dice left | right | accepted | Dice left | right | worst side |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for one in outcomes:
        if not one.judged.any():
            yield f"| {one.name} | not known, {one.count} slices | | | {one.taken.mean():.0%} | | | |"
            continue
        accepted = one.judged & one.taken
        cells = [f"{one.judged.sum()} of {one.count}", *_means(one, one.judged)]
        cells += [f"{accepted.sum() / one.judged.sum():.0%}", *_means(one, accepted)]
        cells += [f"{np.minimum(one.left, one.right)[accepted].min():.3f}" if accepted.any() else "-"]
        yield f"| {one.name} | {' | '.join(cells)} |"


def _means(one: Outcome, where: npt.NDArray[np.bool_]) -> list[str]:
    return [f"{side[where].mean():.3f}" if where.any() else "-" for side in (one.left, one.right)]


def write_figures(path: Path, outcomes: list[Outcome]) -> None:
    """Write what the gates looked at, and Dice, of each slice."""
    names = list(outcomes[0].figures)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["volume", "slice", "judged", "accepted", "dice left", "dice right", *names])
        for one in outcomes:
            for k in range(one.count):
                found = [one.left[k], one.right[k], *(one.figures[name][k] for name in names)]
                writer.writerow([one.name, k, int(one.judged[k]), int(one.taken[k]), *(f"{x:.4f}" for x in found)])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, help="folder of segmenter.onnx and segmenter.json; default: the shipped one"
    )
    parser.add_argument("--slices", type=int, default=500, help="drawn slices")
    parser.add_argument("--figures", type=Path, help="write what the gates looked at, per slice, as CSV")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the real volumes")
    wanted = parser.parse_args()
    model = shipped_model()
    if wanted.model is not None:
        network, contract = (wanted.model / f"segmenter.{ending}" for ending in ("onnx", "json"))
        model = read_model(network.read_bytes(), contract.read_text("utf-8"))
    print(f"model {model.version}\n")
    outcomes: list[Outcome] = []
    for line in table_of(_measured(model, wanted.slices, wanted.pictures, outcomes)):
        print(line, flush=True)
    if wanted.figures and outcomes:
        write_figures(wanted.figures, outcomes)


def _measured(model: Model, count: int, pictures: Path | None, outcomes: list[Outcome]) -> Iterator[Outcome]:
    if count:
        for one in drawn(model, count):
            outcomes.append(one)
            yield one
    for real in itertools.chain(labelled(), unlabelled()):
        outcomes.append(measure(model, real, pictures))
        yield outcomes[-1]


if __name__ == "__main__":
    main()
