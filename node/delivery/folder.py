"""A folder of the file system as a destination: one Part 10 file an object, named by its SOP Instance UID."""

import io
import uuid
from collections.abc import Sequence

from pydicom.dataset import Dataset

from node import durable
from node.calling import Caller
from node.errors import DeliveryError, SettingsError
from node.ports import Answer
from node.settings import DestinationSettings


class Folder:
    """Kind "folder"."""

    def __init__(self, settings: DestinationSettings, _caller: Caller) -> None:
        if settings.folder is None:
            raise SettingsError(f"[[destination]] {settings.name}: kind 'folder' needs a folder")
        self._name, self._folder = settings.name, settings.folder

    @property
    def name(self) -> str:
        return self._name

    def reach(self) -> str:
        """Return in words that the folder can be written, or be made, by whoever asks: a file is, and removed again.

        Rights alone do not say it: a disk may be full, or mounted for reading.

        Raises
        ------
        SettingsError
            If it cannot.
        """
        try:
            there = next(one for one in (self._folder, *self._folder.parents) if one.exists())
            trial = there / f"{uuid.uuid4().hex}{durable.PART}"
            durable.write(trial, b"whether it can be written")
            trial.unlink()
        except OSError as error:
            raise SettingsError(
                f"{self._folder} cannot be written ({error.strerror}): nothing is delivered there"
            ) from error
        is_there = there == self._folder
        return f"{self._folder} is {'writable' if is_there else 'not there: it is made when something is delivered'}"

    def deliver(self, objects: Sequence[Dataset], _replaced: object = None, /) -> list[Answer]:
        """Write the objects durably; DeliveryError if the folder cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for one in objects:
                buffer = io.BytesIO()
                one.save_as(buffer, enforce_file_format=True)
                durable.write(self._folder / f"{one.SOPInstanceUID}.dcm", buffer.getvalue())
        except OSError as error:
            raise DeliveryError(f"{self._folder} could not be written ({error.strerror})") from error
        return [Answer(str(one.SOPInstanceUID), stored=True, permanent=False, status="written") for one in objects]
