"""Truth: what a simulated study holds, known because we made it; and the file `truth.json` that says so.

The keys of truth.json are the fields of `Truth`, `MuscleTruth` and `LesionTruth`; positions are LPS mm, shares and
enhancements percent. Masks stand beside it: truth_muscles.nii.gz (1 left, 2 right) and truth_lesions.nii.gz (number
of the lesion) on the grid of the pre series, truth_vessels.nii.gz (1 vein) on the grid of the MRV.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.dicom.geometry import Geometry
from node.errors import SimulatorError
from node.findings import Side
from node.simulator.anatomy import Anatomy
from node.simulator.canvas import Canvas, Labels, Mask, Point, coordinates, ellipsoid, whole
from node.simulator.headers import Identity
from node.simulator.implants import Implant
from node.simulator.patient import Patient
from node.simulator.physics import Image
from node.simulator.planning import plan_series
from node.simulator.recipe import Recipe, SeriesKind
from node.simulator.tissues import MUSCLE_LABELS, Label

SCHEMA_VERSION = "1.0"  # of truth.json; the first number changes when a reader must change

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MASKED, _PURE = 0.5, 0.99  # shares of a voxel
_RING_MM = 5.0  # around a lesion; docs/analysis.md, 12.3
_SIDES = (Side.LEFT, Side.RIGHT)  # numbers 1 and 2 of the muscle mask, as in `findings.Regions`


@dataclass(frozen=True, slots=True)
class MuscleTruth:
    """One side's posterior paraspinal compartment, on the grid of the pre series.

    Volume counts all that lies in it; enhancement is the median of (post - pre) / pre over its voxels that are half
    muscle or more, of noise-free signals without gain and motion; the vessel fraction (of the compartment without
    lesions, on the MRV) is None if the study has no MRV.
    """

    side: Side
    volume_mm3: float
    enhancement_pct: float
    vessel_fraction_pct: float | None


@dataclass(frozen=True, slots=True)
class LesionTruth:
    """One lesion; `centre_mm` is its place during the pre series, `post_centre_mm` after the patient moved.

    The volume is that of the sphere in the stack. Enhancement is the median over the enhancing tissue, without core
    and vessels. Vessel fractions are those of the sphere, and of the muscle within 5 mm of it, on the MRV.
    """

    number: int
    side: Side
    centre_mm: Point
    post_centre_mm: Point
    diameter_mm: float
    core_diameter_mm: float
    volume_mm3: float
    enhancement_pct: float
    core_enhancement_pct: float | None
    vessel_fraction_pct: float | None
    surrounding_vessel_fraction_pct: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Where things are. `vessels` (voxels half of which or more is vein) and its grid are None without an MRV."""

    muscles: Labels
    lesions: Labels
    grid: Geometry
    vessels: Labels | None
    mrv_grid: Geometry | None


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The truth about one study; gain and motion are those of the post series against the pre series.

    `contrast` is the recipe's word, `post_is_enhanced` whether contrast was injected; `series` maps the kind of a
    series to its Series Instance UID.
    """

    seed: int
    study: str
    series: Mapping[SeriesKind, str]
    contrast: str
    post_is_enhanced: bool
    muscles: tuple[MuscleTruth, ...]
    lesions: tuple[LesionTruth, ...]
    gain: float
    motion_mm: Point
    motion_deg: Point
    snr: float
    masks: Masks

    def to_json(self) -> dict[str, Any]:
        """Return all but the masks as JSON values."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "masks"}
        tables = {name: [asdict(one) for one in fields[name]] for name in ("muscles", "lesions")}
        return {"schema_version": SCHEMA_VERSION, **fields, **tables}


def write_truth(truth: Truth, folder: Path) -> None:
    """Write truth.json and the masks into `folder`."""
    (folder / "truth.json").write_text(json.dumps(truth.to_json(), indent=2) + "\n", encoding="utf-8")
    masks = truth.masks
    _write_mask(folder / "truth_muscles.nii.gz", masks.muscles, masks.grid)
    _write_mask(folder / "truth_lesions.nii.gz", masks.lesions, masks.grid)
    if masks.vessels is not None and masks.mrv_grid is not None:
        _write_mask(folder / "truth_vessels.nii.gz", masks.vessels, masks.mrv_grid)


def _write_mask(path: Path, mask: Labels, grid: Geometry) -> None:
    affine = _LPS_TO_RAS @ grid.affine[:, [2, 1, 0, 3]]
    image: Any = nib.Nifti1Image(mask.transpose(2, 1, 0), affine)  # type: ignore[no-untyped-call]
    nib.save(image, path)


def find_truth(
    recipe: Recipe, identity: Identity, patient: Patient, anatomies: Mapping[SeriesKind, Sequence[Anatomy]]
) -> Truth:
    """Return the truth about a study; `anatomies` holds, by kind, what lay on the grids of its series.

    Raises
    ------
    SimulatorError
        If a lesion lies outside the stack.
    """
    measured = _Measured.of(recipe, patient, identity.frame_of_reference, anatomies.get("pre"))
    vascular = _Vascular.of(patient, anatomies.get("mrv"))
    grid = measured.anatomy.geometry
    muscles, lesions = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    for number, side in enumerate(_SIDES, start=1):
        muscles[_compartment(measured.anatomy, side, patient.implants)] = number
    for one in patient.implants:
        lesions[_sphere_share(measured.anatomy, one) >= _MASKED] = one.number
        if not (lesions == one.number).any():
            raise SimulatorError(f"lesion {one.number} lies outside the stack, or is too small for its voxels")
    return Truth(
        seed=recipe.seed,
        study=identity.study,
        series={kind: identity.series(kind) for kind in anatomies},
        contrast=recipe.contrast,
        post_is_enhanced=recipe.contrast_given,
        muscles=tuple(
            MuscleTruth(
                side=side,
                volume_mm3=round(float((muscles == number).sum()) * grid.voxel_mm3, 1),
                enhancement_pct=measured.enhancement_pct(MUSCLE_LABELS[side]),
                vessel_fraction_pct=vascular.of_muscle_pct(side) if vascular else None,
            )
            for number, side in enumerate(_SIDES, start=1)
        ),
        lesions=tuple(_lesion(one, patient, measured, vascular) for one in patient.implants),
        gain=recipe.gain,
        motion_mm=recipe.motion_mm,
        motion_deg=recipe.motion_deg,
        snr=recipe.snr,
        masks=Masks(
            muscles,
            lesions,
            grid,
            vascular.veins.astype(np.uint8) if vascular else None,
            vascular.anatomy.geometry if vascular else None,
        ),
    )


def _lesion(one: Implant, patient: Patient, measured: "_Measured", vascular: "_Vascular | None") -> LesionTruth:
    share = float(_sphere_share(measured.anatomy, one).sum())
    core = one.recipe.core_share > 0
    return LesionTruth(
        number=one.number,
        side=one.recipe.side,
        centre_mm=_rounded(one.centre_mm),
        post_centre_mm=_rounded(patient.movement @ (*one.centre_mm, 1.0)),
        diameter_mm=one.recipe.diameter_mm,
        core_diameter_mm=round(one.recipe.diameter_mm * one.recipe.core_share, 3),
        volume_mm3=round(share * measured.anatomy.geometry.voxel_mm3, 1),
        enhancement_pct=measured.enhancement_pct(one.label),
        core_enhancement_pct=measured.enhancement_pct(one.core_label) if core else None,
        vessel_fraction_pct=vascular.of_lesion_pct(one) if vascular else None,
        surrounding_vessel_fraction_pct=vascular.around_lesion_pct(one) if vascular else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """The signals of pre and post without noise, gain and motion, and the anatomy under them."""

    anatomy: Anatomy
    pre: Image
    post: Image

    @classmethod
    def of(
        cls, recipe: Recipe, patient: Patient, frame_of_reference: str, anatomies: Sequence[Anatomy] | None
    ) -> "_Measured":
        plan = plan_series(recipe, patient.body, frame_of_reference, "post", 0)
        anatomy = anatomies[0] if anatomies else patient.anatomy(plan.geometries[0])
        pre = patient.scan(anatomy, plan, minutes=None)
        return cls(anatomy, pre, patient.scan(anatomy, plan, minutes=plan.minutes) if plan.minutes else pre)

    def enhancement_pct(self, label: int) -> float:
        """Return the median enhancement of a tissue, over its pure voxels if it has any."""
        share = self.anatomy.share(label)
        muscle = label in MUSCLE_LABELS.values()
        mask = share >= (_MASKED if muscle else min(_PURE, float(share.max())))
        mask &= self.pre > 0
        return round(100 * float(np.median(self.post[mask] / self.pre[mask] - 1)), 2) if mask.any() else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Vascular:
    """The veins of the MRV."""

    anatomy: Anatomy
    veins: Mask
    implants: tuple[Implant, ...]

    @classmethod
    def of(cls, patient: Patient, anatomies: Sequence[Anatomy] | None) -> "_Vascular | None":
        if not anatomies:
            return None
        return cls(anatomies[0], anatomies[0].share(Label.VEIN) >= _MASKED, patient.implants)

    def of_muscle_pct(self, side: Side) -> float:
        region = _compartment(self.anatomy, side, self.implants)
        for one in self.implants:
            region &= self._distance_mm(one) > one.radius_mm
        return self._fraction_pct(region)

    def of_lesion_pct(self, one: Implant) -> float:
        return self._fraction_pct(self._distance_mm(one) <= one.radius_mm)

    def around_lesion_pct(self, one: Implant) -> float:
        distance_mm = self._distance_mm(one)
        ring = (distance_mm > one.radius_mm) & (distance_mm <= one.radius_mm + _RING_MM)
        return self._fraction_pct(ring & _compartment(self.anatomy, one.recipe.side, self.implants))

    def _distance_mm(self, one: Implant) -> Image:
        return _distance_mm(self.anatomy.geometry, one.centre_mm)

    def _fraction_pct(self, region: Mask) -> float:
        return round(100 * float((self.veins & region).sum()) / max(1, int(region.sum())), 2)


def _compartment(anatomy: Anatomy, side: Side, implants: Sequence[Implant]) -> Mask:
    """Return a side's muscle with all that lies in it: closed by two pixels in each plane, holes filled."""
    own = [label for one in implants if one.recipe.side is side for label in (one.label, one.core_label)]
    muscle = anatomy.share(MUSCLE_LABELS[side], *own) >= _MASKED
    box = ndimage.find_objects(muscle.astype(np.int8))  # closing a whole trunk takes ten times as long
    if not box:
        return muscle
    closed: Mask = np.zeros_like(muscle)
    part = np.pad(muscle[box[0]], ((0, 0), (2, 2), (2, 2)))
    part = ndimage.binary_closing(part, np.ones((1, 3, 3), bool), iterations=2)[:, 2:-2, 2:-2]
    closed[box[0]] = np.stack([ndimage.binary_fill_holes(plane) for plane in part])
    return closed


def _sphere_share(anatomy: Anatomy, one: Implant) -> Image:
    """Return how much of every voxel lies in a lesion, its core and vessels included."""
    canvas = Canvas(np.zeros_like(anatomy.labels), anatomy.affines)
    canvas.paint(1, ellipsoid(one.centre_mm, (one.radius_mm,) * 3))
    share: Image = canvas.labels.mean(axis=0, dtype=np.float32)
    return share


def _distance_mm(grid: Geometry, centre_mm: Point) -> Image:
    x, y, z = coordinates((grid.affine,), whole(grid.shape))
    distance: Image = np.sqrt((x - centre_mm[0]) ** 2 + (y - centre_mm[1]) ** 2 + (z - centre_mm[2]) ** 2)[0]
    return distance


def _rounded(point: npt.ArrayLike) -> Point:
    x, y, z, *_ = (round(float(value), 3) for value in np.asarray(point))
    return x, y, z
