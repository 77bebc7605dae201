"""Provenance: who made the objects of one analysis, from what, and when.

Nothing in an object is drawn by chance or read from a clock: the same analysis gives the same bytes again, so that
an archive takes a repeated delivery for a duplicate and not for a second result.
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import highdicom as hd
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, DT, TM

from node import __version__
from node.dicom.identifiers import derived_uid
from node.errors import ReportError
from node.findings import Algorithm, Findings
from node.records import REPORT_SERIES, Predecessor, ResultRole
from node.report import codes
from node.report.sources import BYTE_FOR_BYTE, Study
from node.settings import ReportSettings

_NOT_LEARNED = "compartments"  # name of the segmenter by thresholds and shapes; who else is installed, nobody knows
_TOOLS = ("segmenter", "detector", "labeller")  # parameters that name one: "name version", or several
_NO_TOOL = "none"  # the labeller that names no vertebra
_OFFSET = re.compile(r"([+-])([01]\d)([0-5]\d)")  # PS3.3 C.12.1.1.8, Timezone Offset From UTC


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of result object. Each has a series of its own, with a number that viewers hang after the images."""

    name: str
    role: ResultRole
    series_number: int
    description: str  # Series Description, up to 64 characters (VR LO)


MUSCLES = Kind("seg-muscles", ResultRole.SEG, 9001, "PVM SEG muscles (automatic, investigational)")
VESSELS = Kind("seg-vessels", ResultRole.SEG, 9011, "PVM SEG vessels (automatic, investigational)")
LESIONS = Kind("seg-lesions", ResultRole.SEG, 9021, "PVM SEG lesions (automatic, investigational)")
MAP = Kind("map", ResultRole.MAP, 9002, "PVM percent enhancement map (automatic, investigational)")
KEY_IMAGES = Kind("key-image", ResultRole.KEY_IMAGES, 9003, "PVM key images (automatic, investigational)")
REPORT = Kind("sr", ResultRole.SR, 9004, f"{REPORT_SERIES} (automatic, investigational)")
OUTLINES = Kind("outlines", ResultRole.OUTLINES, 9007, "PVM lesion outlines (automatic, investigational)")
KEY_OBJECTS = Kind("ko", ResultRole.KO, 9005, "PVM key objects (automatic, investigational)")
PDF = Kind("pdf", ResultRole.PDF, 9006, "PVM report as PDF (automatic, investigational)")


@dataclass(frozen=True, slots=True)
class Provenance:
    """The one origin of all objects of one analysis.

    Parameters
    ----------
    algorithm : Algorithm
        What measured.
    settings : ReportSettings
        The product as it names itself.
    moment : datetime
        Start of the analysis, in the time zone that the objects are written in. Content Date and Time are the start
        by IHE AI Results 6.5.3; the other times follow it, so that they never change.
    analysis : str
        UID that stands for inputs, algorithm, configuration and product.
    received_set : bytes or None
        The Specific Character Set that the objects are written under, if their text is that of the source byte for
        byte (`sources`); None: UTF-8.
    predecessor : Predecessor or None
        The earlier report that the report replaces.
    tracked : mapping of str to str
        Tracking UIDs that earlier reports gave, by Tracking Identifier.
    """

    algorithm: Algorithm
    settings: ReportSettings
    moment: dt.datetime
    analysis: str
    received_set: bytes | None = None
    predecessor: Predecessor | None = None
    tracked: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        study: Study,
        findings: Findings,
        *,
        settings: ReportSettings,
        started: dt.datetime,
        predecessor: Predecessor | None = None,
    ) -> "Provenance":
        """Return the provenance of `findings`, which an analysis of `study` made.

        Raises
        ------
        ReportError
            If `started` has no time zone.
        """
        if started.tzinfo is None:
            raise ReportError("the start of the analysis must have a time zone")
        algorithm, suspicion = findings.algorithm, findings.suspicion
        tracked = {
            one.tracking_identifier: one.tracking_uid
            for one in findings.lesions
            if one.tracking_identifier and one.tracking_uid
        }
        analysis = derived_uid(
            str(study.header.StudyInstanceUID),
            *sorted(str(instance.SOPInstanceUID) for instance in study.instances),
            algorithm.name,
            algorithm.version,
            algorithm.configuration_hash,
            *(f"{name}={value}" for name, value in sorted(algorithm.parameters.items())),  # plug-ins' versions, too
            __version__,  # another release words the report differently: the same UID would name other content
            settings.model_dump_json(),
            *([] if suspicion is None else [str(suspicion)]),  # told later, it makes another report of the same images
            *([] if predecessor is None else [predecessor.sop_instance]),  # named in the report
            *(one.sop_instance for one in findings.earlier),  # likewise
            *(f"{name}={uid}" for name, uid in sorted(tracked.items())),
        )
        moment = started.astimezone(_time_zone(study.header) or started.tzinfo)
        if study.received_set is not None:
            settings = _in_ascii(settings)
        return cls(algorithm, settings, moment, analysis, study.received_set, predecessor, tracked)

    def uid(self, *parts: str) -> str:
        """Return the UID of that part of the analysis which `parts` name."""
        return derived_uid(self.analysis, *parts)

    def tracking_uid(self, identifier: str) -> str:
        """Return the Tracking UID of what `identifier` names: the same in the SEG, in the report, and since earlier."""
        return self.tracked.get(identifier) or self.uid("tracking", identifier)

    @property
    def device_uid(self) -> str:
        """UID of the algorithm as released: another version is another device (IHE AI Results 6.5.3.1)."""
        return derived_uid("device", self.algorithm.name, self.algorithm.version)

    @property
    def family(self) -> Code:
        """What the algorithm is (CID 7162): learned, unless the segmenter is the one of ours that is not."""
        segmenter = self.algorithm.parameters.get("segmenter", _NOT_LEARNED)
        return codes.HISTOGRAM_ANALYSIS if segmenter.startswith(_NOT_LEARNED) else codes.ARTIFICIAL_INTELLIGENCE

    def parameters(self) -> dict[str, str]:
        """Return the algorithm's parameters, and the hash that stands for them all."""
        return {**self.algorithm.parameters, "configuration_hash": self.algorithm.configuration_hash}

    def attributes(self, kind: Kind, number: int = 1) -> dict[str, Any]:
        """Return highdicom's arguments that every object of `kind` has: identity, equipment, times.

        `number` is that of the object in its series.
        """
        day, clock = self.moment.date(), self.moment.time()
        one = ("instance",) if number == 1 else ("instance", str(number))
        return {
            "series_instance_uid": self.uid(kind.name, "series"),
            "series_number": kind.series_number,
            "series_description": kind.description,
            "sop_instance_uid": self.uid(kind.name, *one),
            "instance_number": number,
            "manufacturer": self.settings.manufacturer,
            "manufacturer_model_name": self.settings.model,
            "software_versions": __version__,
            "device_serial_number": self.settings.serial_number,
            "institution_name": self.settings.institution or None,
            "content_date": day,
            "content_time": clock,
            "series_date": day,
            "series_time": clock,
            "contributing_equipment": [self._algorithm_as_equipment(), *self._tools_as_equipment()],
        }

    def finished(self, dataset: Dataset) -> Dataset:
        """Return `dataset` as it will be sent: what highdicom leaves out added, what it reads from the clock replaced.

        The object goes through its own bytes, so that the gate judges what a receiver will read.
        """
        dataset.InstanceCreationDate, dataset.InstanceCreationTime = DA(self.moment.date()), TM(self.moment.time())
        dataset.TimezoneOffsetFromUTC = f"{self.moment:%z}"
        for equipment in dataset.ContributingEquipmentSequence:
            if equipment.ManufacturerModelName == "highdicom":
                equipment.ContributionDateTime = DT(self.moment)
        dataset.CodingSchemeIdentificationSequence = codes.identify_schemes(
            dataset, organization=self.settings.manufacturer
        )
        return _written(dataset, self.received_set)

    def _algorithm_as_equipment(self) -> hd.ContributingEquipment:
        return self._equipment(self.algorithm.name, self.algorithm.version, self.device_uid, "Automated image analysis")

    def _tools_as_equipment(self) -> Iterator[hd.ContributingEquipment]:
        """Yield an item for each algorithm within the analysis: another version of one is another device.

        Who made a plug-in nobody knows here: it is named under the manufacturer of the product that ran it.
        """
        for part in _TOOLS:
            for tool in self.algorithm.parameters.get(part, "").split(", else "):
                name, _blank, version = tool.rpartition(" ")
                if name and name != _NO_TOOL:
                    uid = derived_uid("device", part, name, version)
                    yield self._equipment(name, version, uid, f"Automated image analysis: {part}")

    def _equipment(self, name: str, version: str, uid: str, description: str) -> hd.ContributingEquipment:
        equipment = hd.ContributingEquipment(
            manufacturer=self.settings.manufacturer,
            manufacturer_model_name=name,
            software_versions=version,
            device_serial_number=self.settings.serial_number,
            purpose_of_reference=codes.PROCESSING_EQUIPMENT,
            contribution_datetime=self.moment,
            contribution_description=description,
        )
        equipment.DeviceUID = uid  # highdicom has no argument for it
        return equipment


def _written(dataset: Dataset, received_set: bytes | None) -> Dataset:
    """Return a data set as it is read from its own bytes, which another Specific Character Set may be put over.

    Then nobody may ask it for a text: what pydicom makes of the bytes would be written in their place.
    """
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    if received_set is not None:
        content = content.replace(_character_set(BYTE_FOR_BYTE.encode()), _character_set(received_set), 1)
    return dcmread(BytesIO(content))


def _character_set(value: bytes) -> bytes:
    """Return the element (0008,0005) in explicit VR little endian; nothing if none is declared."""
    padded = value + b" " * (len(value) % 2)
    return b"\x08\0\x05\0CS" + len(padded).to_bytes(2, "little") + padded if value.strip(b" \0") else b""


def _in_ascii(settings: ReportSettings) -> ReportSettings:
    """Return the settings without what ASCII lacks: under somebody else's character set nothing else is safe."""
    texts = {name: value for name, value in settings.model_dump().items() if isinstance(value, str)}
    plain = {name: unicodedata.normalize("NFKD", value).encode("ascii", "ignore") for name, value in texts.items()}
    return settings.model_copy(update={name: value.decode("ascii") for name, value in plain.items()})


def _time_zone(header: Dataset) -> dt.tzinfo | None:
    """Return the zone that the source's times are in: copied and new times stand side by side in one object."""
    match = _OFFSET.fullmatch(str(header.get("TimezoneOffsetFromUTC") or ""))
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    offset = dt.timedelta(hours=int(hours), minutes=int(minutes))
    return dt.timezone(-offset if sign == "-" else offset)
