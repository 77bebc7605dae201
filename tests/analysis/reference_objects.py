"""The digital reference objects of PkModeling: 4D signals whose Ktrans, ve and vp are known voxel by voxel.

The screenshot beside them says how they were made: TR 5 ms, 15 degrees, T1 of tissue 1434 ms, relaxivity 3.7,
haematocrit 0.45; from left to right Ktrans, three voxels each with contrast 0, 2 and 4 s later; from top to bottom ve,
and within it vp. The first row and column hold the artery (T1 1600 ms, PkModeling's own).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.analysis.itk import sitk
from node.analysis.tofts import ArterialCurve, concentration_mm, fit
from tests.conftest import shared

Map = npt.NDArray[np.float64]
OBJECTS = ("DRO3min3secinf", "DRO3min5secinf", "DRO5min1secinf", "DRO5min3secinf", "DRO5min5secinf")
_TISSUE_T1_S, _BLOOD_T1_S, _TR_S, _FLIP_DEG, _RELAXIVITY, _HAEMATOCRIT = 1.434, 1.6, 0.005, 15.0, 3.7, 0.45
_BEFORE_S = 38.0  # contrast arrives at 40 s
_DELAYS_S = np.arange(-1.0, 6.0, 0.5)


@dataclass(frozen=True)
class ReferenceObject:
    """One object: its signals, shape (rows, columns, time points), and the maps it was made from."""

    times_s: Map
    tissue: Map
    artery: Map
    ktrans: Map
    ve: Map
    vp: Map
    reference_ktrans: Map  # as PkModeling fits it, without vp

    def fitted(self) -> tuple[Map, Map]:
        """Return Ktrans and ve by our own way from signal to parameters, with the artery of the object."""
        arterial = ArterialCurve.of(self.times_s, self._taken_up(self.artery, _BLOOD_T1_S) / (1 - _HAEMATOCRIT))
        found = [
            fit(self.times_s, self._taken_up(curve, _TISSUE_T1_S), arterial, _DELAYS_S)
            for curve in self.tissue.reshape(-1, len(self.times_s))
        ]
        ktrans = np.array([np.nan if one is None else one.ktrans_per_min for one in found])
        ve = np.array([np.nan if one is None else one.ve for one in found])
        return ktrans.reshape(self.ktrans.shape), ve.reshape(self.ktrans.shape)

    def _taken_up(self, signal: Map, t1_s: float) -> Map:
        baseline = float(signal[self.times_s < _BEFORE_S].mean())
        return concentration_mm(
            signal, baseline, t1_s=t1_s, tr_s=_TR_S, flip_deg=_FLIP_DEG, relaxivity_per_mm_s=_RELAXIVITY
        )


def read_object(name: str) -> ReferenceObject:
    """Return an object of the shared data, or skip the test."""
    folder = shared("data", "PkModeling_DRO", "Data", "RegressionTests", "DROs")
    image = sitk.ReadImage(str(folder / "Input" / f"{name}.nrrd"))
    signal = sitk.GetArrayFromImage(image)[0]
    reference = sitk.ReadImage(str(folder / "Reference" / f"{name}_AllOutputsExceptFpv-ktrans.nrrd"))
    times_s = np.array(image.GetMetaData("MultiVolume.FrameLabels").split(","), float) / 1000
    shape = np.ones((12, 15))
    return ReferenceObject(
        times_s=times_s,
        tissue=signal[1:, 1:],
        artery=signal[0, 0],
        ktrans=shape * np.repeat([0.05, 0.1, 0.2, 0.3, 0.4], 3),
        ve=shape * np.repeat([0.15, 0.25, 0.35], 4)[:, None],
        vp=shape * np.tile([0.0, 0.01, 0.02, 0.03], 3)[:, None],
        reference_ktrans=sitk.GetArrayFromImage(reference)[0, 1:, 1:].astype(float),
    )
