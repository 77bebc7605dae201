"""The plug-in points. Our own parts come in through the same entry points as anybody else's.

Entry point groups: `paraspinal_node.segmenters`, `paraspinal_node.detectors`, `paraspinal_node.labellers`,
`paraspinal_node.destinations`, `paraspinal_node.triggers` (see `plugins.py`). Members are read-only properties, so that
frozen dataclasses fit.

An entry point names a class (or a function) that is called like this:

- segmenter, detector, labeller: without arguments;
- destination: with its `DestinationSettings` (`options` is the plug-in's own), `calling_ae=`, `network_timeout_s=`;
- trigger: with the `CompletionSettings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
    """

    muscles: npt.NDArray[np.uint8]
    body: Mask
    canal: Mask
    accepted: npt.NDArray[np.bool_]
    gates: tuple[Gate, ...]
    confidence: str
    parts: npt.NDArray[np.uint8] | None = None
    bone: Mask | None = None


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
    """What a destination said to one object: stored or not, for good or worth trying again."""

    sop_instance: str
    stored: bool
    permanent: bool
    status: str  # "0x0000" or a word; never the text of somebody else's exception


class Destination(Protocol):
    """Takes finished objects."""

    @property
    def name(self) -> str: ...

    def deliver(self, objects: Sequence[Dataset]) -> Sequence[Answer]:
        """Send the objects over one association and return an answer for each that got one.

        Raises
        ------
        DeliveryError
            If no association could be had at all.
        """
        ...


class Trigger(Protocol):
    """Decides when a series is whole."""

    @property
    def name(self) -> str: ...

    def evidence(self, series: SeriesProgress, *, now: float) -> str | None:
        """Return what says that the series is whole, or None while it may still grow."""
        ...
