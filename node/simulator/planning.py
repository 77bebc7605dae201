"""Planning: which series a study has, on which grids, with which sequences, at which times."""

from dataclasses import dataclass

import numpy as np

from node.dicom.geometry import Geometry
from node.simulator.anatomy import Body, Box
from node.simulator.physics import Array, Pulse
from node.simulator.recipe import Orientation, PatientPosition, Recipe, SeriesKind

# Usual values of spine protocols: T1 TSE; 3D VIBE / LAVA; T2 TSE; 2D time-of-flight venography (docs/analysis.md).
_PULSES: dict[str, Pulse] = {
    "se": Pulse("se", 0.550, 0.010, 150),
    "spgr": Pulse("spgr", 0.005, 0.0023, 12),
    "t2": Pulse("se", 3.5, 0.100, 150),
    "mrv": Pulse("tof", 0.025, 0.007, 55),
    "localizer": Pulse("spgr", 0.008, 0.004, 20),
    "dynamic": Pulse("spgr", 0.005, 0.0023, 12),
}
_MRV_SLICE_MM, _LOCALIZER_PIXEL_MM, _LOCALIZER_SLICES = 3.0, 2.0, 3
_START_S = 9 * 3600.0  # the study begins at nine o'clock
_BEGINS_S = {"localizer": 60.0, "t2": 180.0, "mrv": 420.0, "pre": 900.0}  # after that; chosen
INJECTION_S = _START_S + 1260.0
_HALF_SERIES_S = 60.0  # `minutes` counts to the middle of the post series

# Rows run along the first vector, columns along the second: as scanners write it for a supine patient.
_PLANES: dict[Orientation, tuple[Array, Array]] = {
    "axial": (np.array([1.0, 0, 0]), np.array([0, 1.0, 0])),
    "sagittal": (np.array([0, 1.0, 0]), np.array([0, 0, -1.0])),
    "coronal": (np.array([1.0, 0, 0]), np.array([0, 0, -1.0])),
}


@dataclass(frozen=True, slots=True)
class TimePoint:
    """One time point of a dynamic series: seconds since midnight, minutes since contrast was given, None before."""

    begins_s: float
    minutes: float | None
    moved: bool


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One series as it will be acquired.

    Parameters
    ----------
    kind : str
        "localizer", "t2", "mrv", "pre", "dynamic" or "post".
    number : int
        Series Number.
    geometries : tuple of Geometry
        One grid; of a localizer, three; of a dynamic series, the same one for each time point.
    along_axis : bool
        Whether slices are acquired along the slice axis of the grid, or against it.
    minutes : float or None
        Since contrast was given; None before that.
    begins_s : float
        Seconds since midnight.
    time_points : tuple of TimePoint
        Of a dynamic series; of all others, none.
    """

    kind: SeriesKind
    number: int
    geometries: tuple[Geometry, ...]
    along_axis: bool
    pulse: Pulse
    fat_suppression: bool
    minutes: float | None
    begins_s: float
    time_points: tuple[TimePoint, ...] = ()


def plan_study(recipe: Recipe, body: Body, frame_of_reference: str) -> tuple[Plan, ...]:
    """Return the series of a study in the order of their acquisition."""
    kinds: tuple[SeriesKind, ...] = ("localizer", "t2", "mrv", "pre", "dynamic", "post")
    wanted = [kind for kind in kinds if kind in recipe.series]
    return tuple(plan_series(recipe, body, frame_of_reference, kind, n) for n, kind in enumerate(wanted, start=1))


def plan_series(recipe: Recipe, body: Body, frame_of_reference: str, kind: SeriesKind, number: int) -> Plan:
    """Return one series, whether the recipe has it or not."""
    post = kind == "post"
    measured = kind in ("pre", "post")
    points = _time_points(recipe) if kind == "dynamic" else ()
    return Plan(
        kind=kind,
        number=number,
        geometries=_grids(recipe, body, frame_of_reference, kind) * max(1, len(points)),
        along_axis=recipe.patient_position.startswith("HF"),
        pulse=_measuring_pulse(recipe) if measured else _PULSES[kind],
        fat_suppression=recipe.fat_suppression and measured,
        minutes=recipe.minutes if post and recipe.contrast_given else None,
        begins_s=points[0].begins_s if points else _begins_s(recipe, kind),
        time_points=points,
    )


def _begins_s(recipe: Recipe, kind: SeriesKind) -> float:
    return INJECTION_S + recipe.minutes * 60 - _HALF_SERIES_S if kind == "post" else _START_S + _BEGINS_S[kind]


def _time_points(recipe: Recipe) -> tuple[TimePoint, ...]:
    """Return when a dynamic series is acquired; contrast comes to the arteries as it is given: no transit."""
    steps = [step - recipe.points_before for step in range(recipe.time_points)]
    return tuple(
        TimePoint(
            INJECTION_S + step * recipe.time_step_s,
            step * recipe.time_step_s / 60 if step >= 0 and recipe.contrast_given else None,
            0 < recipe.moves_at <= number,
        )
        for number, step in enumerate(steps)
    )


def _measuring_pulse(recipe: Recipe) -> Pulse:
    usual = _PULSES[recipe.sequence]
    tr, te, flip = recipe.repetition_time_ms, recipe.echo_time_ms, recipe.flip_angle_deg
    return Pulse(
        usual.kind, tr / 1000 if tr else usual.tr_s, te / 1000 if te else usual.te_s, flip if flip else usual.flip_deg
    )


def _grids(recipe: Recipe, body: Body, frame_of_reference: str, kind: SeriesKind) -> tuple[Geometry, ...]:
    pixel_mm = recipe.pixel_mm or body.pixel_mm
    slice_mm = recipe.slice_mm or body.slice_mm
    position = recipe.patient_position
    if kind == "localizer":
        return tuple(
            grid(
                body,
                one,
                position,
                frame_of_reference,
                pixel_mm=_LOCALIZER_PIXEL_MM,
                slice_mm=12.0,
                slices=_LOCALIZER_SLICES,
            )
            for one in ("axial", "sagittal", "coronal")
        )
    if kind == "mrv":
        thin = min(slice_mm, _MRV_SLICE_MM)
        slices = round(recipe.slices * slice_mm / thin) if recipe.slices and recipe.orientation == "axial" else None
        return (grid(body, "axial", position, frame_of_reference, pixel_mm=pixel_mm, slice_mm=thin, slices=slices),)
    if kind == "t2":
        return (grid(body, "sagittal", position, frame_of_reference, pixel_mm=pixel_mm, slice_mm=slice_mm, slices=13),)
    return (
        grid(
            body, recipe.orientation, position, frame_of_reference, pixel_mm=pixel_mm, slice_mm=slice_mm,
            slices=recipe.slices, obliqueness_deg=recipe.obliqueness_deg,
        ),
    )  # fmt: skip


def grid(
    body: Body,
    orientation: Orientation,
    position: PatientPosition,
    frame_of_reference: str,
    *,
    pixel_mm: float,
    slice_mm: float,
    slices: int | None = None,
    obliqueness_deg: float = 0.0,
) -> Geometry:
    """Return a grid that shows the field of view of `body` and covers its muscles with slices.

    A prone patient lies face down, and so does the image: its rows and columns run the other way. Images of one
    orientation look alike for head first and feet first; only the order of the slices differs.
    """
    along_row, along_column = _PLANES[orientation]
    if position.endswith("P"):
        along_row = -along_row
        along_column = -along_column if orientation == "axial" else along_column
    normal = np.cross(along_row, along_column)
    count = slices or max(2, round(_length(body.muscles, normal) / slice_mm))
    columns = max(2, round(_length(body.field_of_view, along_row) / pixel_mm))
    rows = max(2, round(_length(body.field_of_view, along_column) / pixel_mm))

    across = np.abs(normal)
    centre = body.field_of_view.centre * (1 - across) + body.muscles.centre * across
    turn = _about_x(obliqueness_deg)
    directions = np.column_stack([turn @ normal, turn @ along_column, turn @ along_row])
    affine = np.eye(4)
    affine[:3, :3] = directions * (slice_mm, pixel_mm, pixel_mm)
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array([count - 1, rows - 1, columns - 1]) / 2)
    return Geometry(affine, (count, rows, columns), frame_of_reference)


def _length(box: Box, direction: Array) -> float:
    return float(np.abs(box.size @ direction))


def _about_x(angle_deg: float) -> Array:
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def rigid(translation_mm: tuple[float, float, float], rotation_deg: tuple[float, float, float], about: Array) -> Array:
    """Return the movement, shape (4, 4): turned about x, then y, then z through `about`, then shifted."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rotation_deg)):
        one = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = one @ turn
    movement = np.eye(4)
    movement[:3, :3] = turn
    movement[:3, 3] = about - turn @ about + translation_mm
    return movement
