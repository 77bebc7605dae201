"""A command as segmenter or labeller: NIfTI in, NIfTI out, in a private folder, under limits.

What is run, and what its labels mean, a small TOML file says (docs/segmenters.md); those of known programs ship with
the node. No shell is involved. The folder can be read by the node's user alone and is removed afterwards; the step's
limits of time and memory hold for the command as well, for it runs in the step's process group.
"""

import hashlib
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.analysis.labelled import codes_of, segmentation_of
from node.errors import PluginError
from node.external import nifti
from node.external.processes import run_command
from node.external.vertebrae import points_of
from node.findings import VERTEBRAE
from node.ports import Array, Labelling, Segmentation

_GIVEN, _RESULT = "in.nii.gz", "out.nii.gz"
_Texts = Annotated[tuple[str, ...], Field(min_length=1)]


class Description(BaseModel):
    """What a file says of a command.

    Parameters
    ----------
    name, version : str
        For the report: whose outlines these are.
    command : tuple of str
        Program and arguments; `{in}` and `{out}` are the files, `{folder}` is the private folder.
    result : str
        The file that the command leaves, within the folder.
    labels : mapping of str to str
        What each label is: as of `analysis.labelled`, or for a labeller "L4" or "L4/L5".
    basis : str
        Of a labeller: how it counts, for the report.
    time_limit_s : float
        Seconds until the command is killed.
    largest_file_mb : int
        MB that a file may have which it writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    version: Annotated[str, Field(min_length=1, max_length=64)]
    command: _Texts
    labels: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}$")], str]
    result: str = _RESULT
    basis: str = ""
    time_limit_s: Annotated[float, Field(gt=0)] = 540.0
    largest_file_mb: Annotated[int, Field(gt=0)] = 2048

    @property
    def meanings(self) -> dict[int, str]:
        return {int(label): name for label, name in self.labels.items()}


def read_description(place: str) -> tuple[Description, str]:
    """Return what the file says, and its version: that of the program as it says, and the digest of the file.

    `place` is the path of a file, or the name of one that ships with the node ("totalsegmentator-mr").

    Raises
    ------
    PluginError
        With what is wrong.
    """
    if not place:
        raise PluginError(
            'a command is wanted: "command:/path/of/its.toml", or "command:" and the name of a shipped one'
        )
    shipped = resources.files("node.external") / "commands" / f"{place}.toml"
    try:
        content = shipped.read_bytes() if "/" not in place and shipped.is_file() else Path(place).read_bytes()
    except OSError as error:
        raise PluginError(f"command {place}: the file cannot be read ({error.strerror})") from error
    try:
        found = Description.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PluginError(f"command {place}: not valid TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise PluginError(f"command {place}: {faults}") from error
    if PurePosixPath(found.result).is_absolute() or ".." in PurePosixPath(found.result).parts:
        raise PluginError(f"command {place}: result must lie within the folder")
    return found, f"{found.version} ({hashlib.sha256(content).hexdigest()[:8]})"


@dataclass(frozen=True, slots=True)
class CommandSegmenter:
    """Segments by a command; see the module."""

    description: Description
    version: str
    codes: Mapping[int, int]

    @classmethod
    def of(cls, place: str = "") -> "CommandSegmenter":
        """Return the segmenter of a file or of a shipped description."""
        description, version = read_description(place)
        return cls(description, version, codes_of(description.meanings))

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def time_limit_s(self) -> float:
        return self.description.time_limit_s

    def segment(self, volume: Array, *, spacing_mm: tuple[float, float, float]) -> Segmentation:
        """Return what the command marks in a volume in canonical order."""
        labels = run(self.description, volume, spacing_mm)
        return segmentation_of(labels, self.codes, volume, spacing_mm)


@dataclass(frozen=True, slots=True)
class CommandLabeller:
    """Names vertebrae by a command; see the module."""

    description: Description
    version: str

    @classmethod
    def of(cls, place: str = "") -> "CommandLabeller":
        """Return the labeller of a file or of a shipped description."""
        description, version = read_description(place)
        if not description.basis:
            raise PluginError(f"command {place}: a labeller must say by what it counts (basis)")
        unknown = {part for name in description.meanings.values() for part in name.split("/")} - set(VERTEBRAE)
        if unknown:
            raise PluginError(f"command {place}: no vertebrae: {', '.join(sorted(unknown))}")
        return cls(description, version)

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def time_limit_s(self) -> float:
        return self.description.time_limit_s

    def label(self, volume: Array, *, spacing_mm: tuple[float, float, float]) -> Labelling:
        """Return the vertebrae that the command names in a volume in canonical order."""
        points = points_of(run(self.description, volume, spacing_mm), self.description.meanings)
        return Labelling(points, self.description.basis if points else "the labeller named no vertebra")


def run(wanted: Description, volume: Array, spacing_mm: tuple[float, float, float]) -> npt.NDArray[np.uint16]:
    """Return the labels that a command gives to a volume, both in canonical order.

    Raises
    ------
    PluginError
        If it cannot be started, ends otherwise than with 0 or not in time, or its result does not fit.
    """
    with tempfile.TemporaryDirectory(prefix="paraspinal-command-") as name:
        folder = Path(name)
        nifti.write(folder / _GIVEN, volume, spacing_mm)
        places = {"{in}": str(folder / _GIVEN), "{out}": str(folder / _RESULT), "{folder}": name}
        arguments = [_filled(one, places) for one in wanted.command]
        status = run_command(
            wanted.name, arguments, folder, time_limit_s=wanted.time_limit_s, largest_file_mb=wanted.largest_file_mb
        )
        if status:
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            raise PluginError(f"command {wanted.name} ended with {how}")
        result = folder / wanted.result
        if result.is_symlink() or not result.is_file():
            raise PluginError(f"command {wanted.name} left no file {wanted.result}")
        try:
            return nifti.read_labels(result, volume.shape, spacing_mm)
        except PluginError as error:
            raise PluginError(f"command {wanted.name}: {error}") from error


def _filled(text: str, places: Mapping[str, str]) -> str:
    for mark, place in places.items():
        text = text.replace(mark, place)
    return text
