"""The plug-in points. Our own parts come in through the same entry points as anybody else's.

Entry point groups: `paraspinal_node.segmenters`, `paraspinal_node.detectors`, `paraspinal_node.labellers`,
`paraspinal_node.destinations`, `paraspinal_node.triggers` (see `plugins.py`). Members are read-only properties, so that
frozen dataclasses fit.

An entry point names a class (or a function) that is called like this:

- segmenter, detector, labeller: without arguments, or with the text that the settings say behind a colon
  ("onnx:/srv/model" is the plug-in "onnx", called with "/srv/model");
- destination: with its `DestinationSettings` (`options` is the plug-in's own) and a `calling.Caller`;
- trigger: with the `CompletionSettings`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from node.findings import Gate, Side
from node.records import SeriesProgress

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


# What a segmenter may tell apart within and beside the posterior compartment: labels of `Segmentation.parts`.
PARTS = {
    1: ("multifidus", Side.LEFT),
    2: ("multifidus", Side.RIGHT),
    3: ("erector spinae", Side.LEFT),
    4: ("erector spinae", Side.RIGHT),
    5: ("psoas", Side.LEFT),
    6: ("psoas", Side.RIGHT),
    7: ("quadratus lumborum", Side.LEFT),
    8: ("quadratus lumborum", Side.RIGHT),
}


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What a segmenter saw in one volume, in canonical order (head, back, left; `dicom.geometry`).

    Parameters
    ----------
    muscles : ndarray of uint8, shape of the volume
        Posterior paraspinal compartment: 1 left, 2 right, 0 elsewhere.
    body, canal : ndarray of bool
        Skin and all within; the spinal canal (may be empty).
    accepted : ndarray of bool, shape (slices,)
        Slices that pass the segmenter's own quality gates.
    gates : tuple of Gate
        Those gates with what they found.
    confidence : str
        "high" or "low", for the caveat in the report.
    parts : ndarray of uint8 or None
        Single muscles, by the labels of `PARTS`; None from a segmenter that does not tell them apart.
    bone : ndarray of bool or None
        Vertebrae and sacrum; None if they were not looked for.
    made_by : str
        Name and version of who outlined it, where that is not the segmenter that was asked; "" otherwise.
    notes : tuple of str
        What the reader should know of how it came about, in sentences: who was asked before, and failed.
    """

    muscles: npt.NDArray[np.uint8]
    body: Mask
    canal: Mask
    accepted: npt.NDArray[np.bool_]
    gates: tuple[Gate, ...]
    confidence: str
    parts: npt.NDArray[np.uint8] | None = None
    bone: Mask | None = None
    made_by: str = ""
    notes: tuple[str, ...] = ()


class Segmenter(Protocol):
    """Finds body, canal and the left and right posterior paraspinal muscles."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def segment(self, volume: Array, *, spacing_mm: tuple[float, float, float]) -> Segmentation:
        """Return the segmentation of a volume in canonical order (head, back, left); spacing in the same order."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One focal enhancing region: its voxels in the volume's order, and the detector's score."""

    region: Mask
    score: float


class Detector(Protocol):
    """Finds focal enhancing candidates in muscle."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def detect(
        self, pre: Array, post: Array, muscle: Mask, *, spacing_mm: tuple[float, float, float], residual_mm: float
    ) -> Sequence[Candidate]:
        """Return candidates, best first.

        Parameters
        ----------
        pre, post : ndarray of float32
            Registered and gain-corrected signal, one grid, in canonical order.
        muscle : ndarray of bool
            Where to look.
        spacing_mm : tuple of float
            Voxel spacing along the axes of the arrays.
        residual_mm : float
            What the registration left, standard deviation per axis.
        """
        ...


@dataclass(frozen=True, slots=True)
class LevelPoint:
    """The middle of a vertebral body ("L4") or of a disc ("L4/L5"): its index, or a fraction, in canonical order."""

    name: str  # C1 to C7, T1 to T12, L1 to L5, S1
    index: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a labeller is confident of.

    Parameters
    ----------
    points : tuple of LevelPoint
        In any order. Empty if it is not confident: a wrong level is worse than none.
    basis : str
        How it counted, for the report: "counted from S1, assuming five lumbar vertebrae". Without points: why not.
    """

    points: tuple[LevelPoint, ...]
    basis: str


class Labeller(Protocol):
    """Names vertebrae in a sagittal series."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def label(self, volume: Array, *, spacing_mm: tuple[float, float, float]) -> Labelling:
        """Return the vertebrae of a volume in canonical order (head, back, left); spacing in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination said to one object.

    Parameters
    ----------
    sop_instance : str
        SOP Instance UID of the object as it was handed in.
    stored, permanent : bool
        Whether it was taken; if not, whether it never will be as it is, so that trying again is of no use.
    status : str
        "0x0000" or a word; never the text of somebody else's exception.
    sent : tuple of str, or None
        SOP Class and Instance UID of what went in its stead.
    """

    sop_instance: str
    stored: bool
    permanent: bool
    status: str
    sent: tuple[str, str] | None = None


class Destination(Protocol):
    """Takes finished objects. Whatever is to hold of one is in `tests/contracts`."""

    @property
    def name(self) -> str: ...

    def deliver(self, objects: Sequence[Dataset], replaced: Mapping[str, tuple[str, str]], /) -> Iterable[Answer]:
        """Send the objects in their order, and give an answer for each that got one, as soon as there is one.

        The same object may come again, after a crash of ours: it is the same instance then, byte for byte. One that
        goes in another's stead is answered before, too, as neither stored nor refused: only who knows its UID can
        recall it, and we may be killed while it is sent.

        Parameters
        ----------
        objects : sequence of Dataset
            Of one study.
        replaced : mapping
            What earlier answers about this study said that was `sent`, by SOP Instance UID: objects may refer to it.

        Raises
        ------
        RefusedError
            If nothing will be taken before somebody has changed the settings, here or there.
        DeliveryError
            If the destination cannot be reached.
        """
        ...


@runtime_checkable
class Reachable(Protocol):
    """What a destination may have besides: `check` asks it, before anything is sent."""

    def reach(self) -> str:
        """Return in words whether it can be reached and would take something; never for long.

        SettingsError if it would refuse everything until somebody changes something, DeliveryError if it cannot be
        asked now, or may not take everything; no other.
        """
        ...


class Trigger(Protocol):
    """Decides when a series is whole."""

    @property
    def name(self) -> str: ...

    def evidence(self, series: SeriesProgress, *, now: float) -> str | None:
        """Return what says that the series is whole, or None while it may still grow."""
        ...
