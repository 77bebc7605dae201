"""How many lesions are found, and how many false marks come with them: simulated contrast in a real back.

    python -m tests.analysis.free_response [--volumes 12] [--fat 0.31]

The whole of `measure` is run on the water and fat images of TUM01 (shared/data) with simulated enhancement: muscle
40 %, lesions 105 %, twelve short straight vessels 160 %, gain 0.6 to 1.5, a movement of up to 2 mm and 1.5 degrees
between the series, SNR 30. `--fat` adds streaks of fat to the muscle until that share of it is fat. A mark hits within
the larger of the radius and the slice spacing. These are figures of a simulation in one person, not of patients.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from node.analysis.grid import Grid
from node.analysis.resampling import Movement, bring
from node.dicom.volumes import Volume
from node.findings import Findings
from tests.analysis.phantom import volume
from tests.analysis.running import RealBack, run

DIAMETERS_MM = (6, 8, 10, 12)
THRESHOLDS = (0.25, 0.5, 1, 2, 4)
MUSCLE, LESION, VESSEL, FAT = 0.40, 1.05, 1.60, 1.03

Image = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """One study, and where its lesion is after the movement, that is in the post series; None without one."""

    pre: Volume
    post: Volume
    centre_mm: npt.NDArray[np.float64] | None


def smooth(image: Image, sigma_mm: float, back: RealBack) -> Image:
    return ndimage.gaussian_filter(image, [sigma_mm / step for step in back.geometry.spacing_mm])


def infiltrate(back: RealBack, share: float) -> None:
    """Replace muscle by streaks of fat until `share` of it is fat."""
    random = np.random.default_rng(5)
    streaks = smooth(random.standard_normal(back.water.shape), 1.6, back)
    muscle = back.sides > 0
    rank = (streaks - np.median(streaks[muscle])) / streaks[muscle].std()
    both = back.water + back.fat
    for threshold in np.arange(2.5, -1.0, -0.05):
        more = np.where(muscle, 0.9 / (1 + np.exp(-(rank - threshold) / 0.2)), 0)
        fraction = np.maximum(back.fat / np.maximum(both, 1), more)
        if fraction[muscle].mean() >= share:
            break
    bright = 2.4 * back.water  # the signal that fat has in the place of muscle
    back.fat = np.where(muscle, np.maximum(back.fat, more * bright), back.fat)
    back.water = back.water * (1 - more)


def draw(back: RealBack, diameter_mm: float, seed: int) -> Drawn:
    random = np.random.default_rng(seed)
    spacing = np.array(back.geometry.spacing_mm)
    muscle = back.sides > 0
    texture = smooth(random.standard_normal(muscle.shape), 3, back)
    rise = np.clip(MUSCLE * (1 + 0.12 * texture / texture.std()), 0.02, None)

    vessel = np.zeros(muscle.shape)
    inside = np.argwhere(muscle)
    for _ in range(12):
        start = inside[random.integers(len(inside))] * spacing
        direction = random.standard_normal(3) * [1.6, 1, 1]
        direction /= np.linalg.norm(direction)
        share = min(1.0, np.pi * random.uniform(0.5, 1.1) ** 2 / (spacing[1] * spacing[2]))
        for along in np.arange(0, random.uniform(8, 30), 0.6):
            voxel = np.round((start + direction * along) / spacing).astype(int)
            if (voxel < 0).any() or (voxel >= muscle.shape).any():
                break
            vessel[tuple(voxel)] = max(vessel[tuple(voxel)], share)

    lesion, centre = np.zeros(muscle.shape), None
    if diameter_mm:
        depth = ndimage.distance_transform_edt(muscle, sampling=spacing)
        depth[:2] = depth[-2:] = 0  # cut in half by the end of the stack it would be another question
        places = np.argwhere(depth > min(0.4 * diameter_mm, 5))
        centre = places[random.integers(len(places))] + random.uniform(-0.45, 0.45, 3)
        fine = np.stack(np.meshgrid(*[(np.arange(4) + 0.5) / 4 - 0.5] * 3, indexing="ij"), -1).reshape(-1, 3)
        grid = np.stack(np.indices(muscle.shape), -1)
        near = np.abs((grid - centre) * spacing).max(-1) < diameter_mm
        offset = (grid[near][:, None] + fine - centre) * spacing
        lesion[near] = (np.linalg.norm(offset, axis=-1) < diameter_mm / 2).mean(axis=1)

    level = smooth(np.where(muscle, back.water + back.fat / 2.4, 0), 8, back)
    level /= np.maximum(smooth(muscle.astype(float), 8, back), 0.01)
    water = back.water * (1 - lesion) + 0.92 * level * lesion  # a lesion replaces what was there
    fat = back.fat * (1 - lesion)
    grown = (1 + rise) * (1 - lesion - vessel).clip(0) + (1 + LESION) * lesion + (1 + VESSEL) * vessel * (1 - lesion)

    turn = Rotation.from_euler("xyz", random.uniform(-1.5, 1.5, 3) * [0.3, 0.3, 1], degrees=True).as_matrix()
    movement = Movement(turn, random.uniform(-2, 2, 3) * [1, 1, 0.5], back.geometry.to_lps(inside.mean(axis=0)))
    clean = Grid.of(volume(water + fat, back.geometry))
    moved, _ = bring(clean.signal, clean.geometry, clean.geometry, movement)
    pre = back.series(clean.axes.undo(moved), 0 * fat, snr=30, seed=3 * seed)
    post = back.series(water * grown, FAT * fat, snr=30, seed=3 * seed + 1)
    gained = volume(post.array * random.uniform(0.6, 1.5), back.geometry)
    return Drawn(pre, gained, None if centre is None else back.geometry.to_lps(centre))


def scores(findings: Findings, drawn: Drawn, diameter_mm: float, slice_mm: float) -> tuple[float, list[float]]:
    """Return the score of the best mark on the lesion, and those of all false marks."""
    near = max(diameter_mm / 2, slice_mm)
    hit, false = -np.inf, []
    for lesion in findings.lesions:
        on = drawn.centre_mm is not None and np.linalg.norm(np.subtract(lesion.centroid_mm, drawn.centre_mm)) <= near
        if on:
            hit = max(hit, lesion.score)
        else:
            false.append(lesion.score)
    return hit, false


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=12, help="for each diameter, and without a lesion")
    parser.add_argument("--fat", type=float, default=0.0, help="share of the muscle that streaks of fat replace")
    wanted = parser.parse_args()
    back = RealBack()
    back.crop()
    if wanted.fat:
        infiltrate(back, wanted.fat)
    count = wanted.volumes
    print(f"threshold of the detector: {THRESHOLDS}")
    for diameter_mm in (0, *DIAMETERS_MM):
        hits, false, refused, rises, start = [], [], 0, [], time.process_time()
        for number in range(count):
            drawn = draw(back, diameter_mm, 1000 * diameter_mm + number)
            findings = run(drawn.pre, drawn.post, detector_threshold=min(THRESHOLDS)).findings
            hit, others = scores(findings, drawn, diameter_mm, back.geometry.spacing_mm[0])
            hits, false, refused = [*hits, hit], false + others, refused + (findings.grade is None)
            rises += [one.enhancement_pct for one in findings.muscles if one.enhancement_pct is not None]
        found = [int(np.sum(np.array(hits) >= threshold)) for threshold in THRESHOLDS] if diameter_mm else "-"
        wrong = [round(float(np.sum(np.array(false) >= threshold)) / count, 2) for threshold in THRESHOLDS]
        print(
            f"{diameter_mm:2d} mm: found {found} of {count}; false marks a volume {wrong}; not graded {refused}; "
            f"muscle {np.mean(rises):.1f} +- {np.std(rises):.1f} %; "
            f"{(time.process_time() - start) / count:.0f} s of CPU each",
            flush=True,
        )


if __name__ == "__main__":
    main()
