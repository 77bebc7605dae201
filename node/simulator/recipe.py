"""Recipes: all that decides how a simulated study looks, in one checked value."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from node.errors import SimulatorError
from node.findings import Side
from node.simulator.tissues import NORMAL_MUSCLE, TYPICAL_TUMOUR

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Point = tuple[float, float, float]

Vendor = Literal["siemens", "philips", "ge", "canon"]
Orientation = Literal["axial", "sagittal", "coronal"]
PatientPosition = Literal["HFS", "FFS", "HFP", "FFP"]
Syntax = Literal["explicit", "implicit", "rle", "jpeg2000", "jpegls"]
SeriesKind = Literal["localizer", "t2", "mrv", "pre", "dynamic", "post"]
Contrast = Literal["given", "labelled only", "unlabelled", "none"]


class _Table(BaseModel):
    """Unknown keys are faults: a misspelt one would silently not hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Uptake(_Table):
    """Extended Tofts parameters: per minute, fraction of the voxel, fraction of the voxel."""

    ktrans: Annotated[float, Field(ge=0, le=5)]
    ve: Annotated[float, Field(gt=0, le=1)]
    vp: Share


_MUSCLE = Uptake(ktrans=NORMAL_MUSCLE.ktrans, ve=NORMAL_MUSCLE.ve, vp=NORMAL_MUSCLE.vp)
_TUMOUR = Uptake(ktrans=TYPICAL_TUMOUR.ktrans, ve=TYPICAL_TUMOUR.ve, vp=TYPICAL_TUMOUR.vp)


class LesionRecipe(_Table):
    """One enhancing sphere in the posterior paraspinal muscle.

    Parameters
    ----------
    level : float
        Where along the stack, 0 at the feet end, 1 at the head end. In that plane the lesion lies where the
        muscle of its side is thickest, unless `centre_mm` says where.
    centre_mm : tuple of float or None
        LPS position.
    core_share : float
        Diameter of a necrotic core as a share of the lesion's; 0: solid.
    vessels : int
        Short vessels in it; one more leads to the paravertebral plexus.
    """

    side: Side = Side.LEFT
    diameter_mm: Annotated[float, Field(ge=2, le=60)] = 12.0
    level: Share = 0.5
    centre_mm: Point | None = None
    uptake: Uptake = _TUMOUR
    core_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    vessels: Annotated[int, Field(ge=0, le=50)] = 6


class AnatomyRecipe(_Table):
    """The built-in phantom, or real water and fat images, best with labels of their muscles (NIfTI).

    Parameters
    ----------
    water, fat, labels : Path or None
        The files; for "images" at least water and fat. Without labels, lean tissue behind the spine is muscle.
    muscle_labels : tuple of int
        Which numbers of the label file are posterior paraspinal muscle; empty: every number but 0. The side of a
        muscle follows from where it lies, never from its number.
    muscle_fat : float
        Share of the phantom's posterior muscles that streaks of fat replace.
    """

    kind: Literal["phantom", "images"] = "phantom"
    water: Path | None = None
    fat: Path | None = None
    labels: Path | None = None
    muscle_labels: tuple[int, ...] = ()
    muscle_fat: Annotated[float, Field(ge=0, le=0.5)] = 0.06

    @model_validator(mode="after")
    def _has_its_files(self) -> "AnatomyRecipe":
        if self.kind == "images" and not (self.water and self.fat):
            raise ValueError("kind 'images' needs the files water and fat")
        return self


class Recipe(_Table):
    """All that decides how a simulated study looks; the defaults give a study with one lesion on the left.

    Parameters
    ----------
    seed : int
        Of noise, texture and identifiers: the same recipe gives the same bytes.
    contrast : str
        "given"; "labelled only": the header names an agent, but nothing was injected; "unlabelled": injected, but
        the header is silent; "none": neither.
    minutes : float
        From injection to the middle of the post series.
    series : tuple of str
        Which there are; they are acquired in the order localizer, t2, mrv, pre, dynamic, post. The dynamic series is
        a gradient echo, on the grid of pre and post.
    time_points, points_before, time_step_s : int, int, float
        Of the dynamic series: how many, how many of them before contrast is given, how long each takes.
    moves_at : int
        From which of its time points on the patient lies as during the post series; 0: never.
    field_strength_t : float
        Tissues have the T1 of 1.5 T below 2 T, and that of 3 T above.
    repetition_time_ms, echo_time_ms, flip_angle_deg : float or None
        None: usual values of the sequence.
    pixel_mm, slice_mm, slices : float, float, int, or None
        Of pre and post; None: what suits the anatomy.
    obliqueness_deg : float
        Tilt of the stack about the left-right axis, as along a disc.
    snr : float
        Of muscle before contrast; 0: no noise at all.
    coil_reach_mm : float
        Depth at which the coil's sensitivity has fallen to 1/e; 0: even. Real images bring their own shading, and
        are left as they are.
    motion_mm, motion_deg : tuple of float
        Of the patient between pre and post, along and about the axes of LPS.
    gain : float
        Of the post series against the pre series.
    """

    seed: Annotated[int, Field(ge=0)] = 7
    anatomy: AnatomyRecipe = AnatomyRecipe()
    lesions: tuple[LesionRecipe, ...] = (LesionRecipe(),)
    muscle_left: Uptake = _MUSCLE
    muscle_right: Uptake = _MUSCLE
    contrast: Contrast = "given"
    minutes: Annotated[float, Field(ge=0.5, le=30)] = 5.0

    series: tuple[SeriesKind, ...] = ("localizer", "mrv", "pre", "post")
    time_points: Annotated[int, Field(ge=2, le=500)] = 40
    points_before: Annotated[int, Field(ge=0)] = 5
    time_step_s: Positive = 6.0
    moves_at: Annotated[int, Field(ge=0)] = 0
    sequence: Literal["spgr", "se"] = "se"
    fat_suppression: bool = False
    field_strength_t: Annotated[float, Field(ge=1, le=3.5)] = 1.5
    repetition_time_ms: Positive | None = None
    echo_time_ms: Positive | None = None
    flip_angle_deg: Annotated[float, Field(gt=0, le=180)] | None = None
    orientation: Orientation = "axial"
    obliqueness_deg: Annotated[float, Field(ge=-45, le=45)] = 0.0
    pixel_mm: Positive | None = None
    slice_mm: Positive | None = None
    slices: Annotated[int, Field(ge=2, le=400)] | None = None

    snr: Annotated[float, Field(ge=0)] = 30.0
    coil_reach_mm: Annotated[float, Field(ge=0)] = 140.0
    motion_mm: Point = (0.5, -0.4, 0.3)
    motion_deg: Point = (0.2, 0.0, 0.3)
    gain: Positive = 1.03

    vendor: Vendor = "siemens"
    patient_position: PatientPosition = "HFS"
    transfer_syntax: Syntax = "explicit"
    multiframe: bool = False
    patient_name: str = "SIMULATED^PHANTOM"
    patient_id: str = ""  # empty: SIM- and the seed
    accession_number: str = ""  # empty: SIMA and the seed
    study_date: Annotated[str, Field(pattern=r"^\d{8}$")] = "20260105"

    @property
    def contrast_given(self) -> bool:
        """Whether contrast was injected, whatever the headers say."""
        return self.contrast in ("given", "unlabelled")

    @property
    def contrast_labelled(self) -> bool:
        """Whether the headers name an agent, whatever was injected."""
        return self.contrast in ("given", "labelled only")

    @model_validator(mode="after")
    def _is_a_study(self) -> "Recipe":
        if not self.series or len(set(self.series)) != len(self.series):
            raise ValueError("series must name at least one kind, and none twice")
        return self


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a TOML file; file names in it are relative to it.

    Raises
    ------
    SimulatorError
        With every fault at once, one a line.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SimulatorError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SimulatorError(f"{path}: not valid TOML: {error}") from error
    recipe = make_recipe(values)
    files = {
        name: path.parent / file
        for name in ("water", "fat", "labels")
        if (file := getattr(recipe.anatomy, name)) is not None
    }
    return recipe.model_copy(update={"anatomy": recipe.anatomy.model_copy(update=files)})


def make_recipe(values: dict[str, Any]) -> Recipe:
    """Return a checked recipe.

    Raises
    ------
    SimulatorError
        With every fault at once, one a line: where, what is wanted, what was found.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise SimulatorError("\n".join(_line(fault) for fault in error.errors(include_url=False))) from error


def _line(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "recipe"
    return f"{where}: {fault['msg']}, not {fault.get('input')!r}"


def demo_recipes() -> dict[str, Recipe]:
    """Return the three studies of the demonstration: a lesion, a healthy patient, and one that must be refused.

    Their pixels are larger than usual, so that all three are made in a few seconds.
    """
    small = Recipe(pixel_mm=1.25, slices=18, patient_position="HFS")
    return {
        "lesion": small.model_copy(update={"seed": 101, "patient_name": "SIMULATED^LESION"}),
        "healthy": small.model_copy(
            update={"seed": 102, "patient_name": "SIMULATED^HEALTHY", "lesions": (), "vendor": "philips"}
        ),
        "no contrast": small.model_copy(
            update={"seed": 103, "patient_name": "SIMULATED^UNINJECTED", "contrast": "labelled only", "vendor": "ge"}
        ),
    }
