"""Settings: every value with its default, unit and limits. `config/node.toml` shows them all, with reasons."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
)

from node.dicom.identifiers import AETitle, parse_ae_title
from node.errors import SettingsError
from node.records import ResultRole


def _ae_title(text: str) -> AETitle:
    try:
        return parse_ae_title(text)
    except SettingsError as error:
        raise ValueError(str(error)) from error


def _caller(text: str) -> str:
    return text if text == "*" else _ae_title(text)


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", text):
        raise ValueError(f"a name is 1 to 32 of a-z, 0-9 and '-', the first of them no '-', not {text!r}")
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


def _beside_the_file(path: Path | None, info: ValidationInfo) -> Path | None:
    """Return a path of a settings file as seen from the file's own folder, wherever the node is started."""
    folder = (info.context or {}).get("folder")
    return path if path is None or folder is None else folder / path


Title = Annotated[str, AfterValidator(_ae_title)]
OptionalTitle = Annotated[str, AfterValidator(lambda text: text and _ae_title(text))]
Name = Annotated[str, AfterValidator(_name)]
Caller = Annotated[str, AfterValidator(_caller)]  # "*": whatever title the caller gives
OptionalPath = Annotated[  # TOML has no word for "none": an empty text stands for it
    Path | None,
    BeforeValidator(lambda value: None if value == "" else value),
    AfterValidator(_beside_the_file),
    PlainSerializer(lambda value: "" if value is None else str(value), when_used="json"),
]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free one, for tests
Positive = Annotated[float, Field(gt=0)]
_ANSWERED_S = 5.0  # until an archive has told what earlier results it has; chosen
_MOST_DOUBLINGS = 30  # of a wait; more would be years, and in the end no number


class Section(BaseModel):
    """A table of the file; unknown keys are faults, because a misspelt setting would silently not hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class NodeSettings(Section):
    data_dir: Path = Path("var")
    name: str = "node-1"
    stop_wait_s: Annotated[int, Field(ge=0)] = 20


class AssociationSettings(Section):
    ae_title: Title = "PARASPINAL"
    bind: str = "0.0.0.0"
    port: Port = 11112
    require_called_ae: bool = True
    user_identity: Literal["accept", "ignore"] = "accept"
    max_associations: Annotated[int, Field(ge=1)] = 64
    max_waiting: Annotated[int, Field(ge=1)] = 1024
    request_timeout_s: Positive = 10.0
    idle_timeout_s: Positive = 60.0
    slowest_bytes_per_s: Annotated[int, Field(ge=1)] = 1000
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 131072
    max_instance_mb: Annotated[int, Field(ge=1)] = 4096
    on_conflict: Literal["warn", "refuse"] = "warn"


class TlsSettings(Section):
    certificate: OptionalPath = None
    key: OptionalPath = None
    ca: OptionalPath = None
    crl: OptionalPath = None


class PeerSettings(Section):
    """One entry of the allow-list: who may call, from where, and how often at a time."""

    ae_title: Caller
    addresses: Annotated[tuple[IPvAnyNetwork, ...], Field(min_length=1)]
    tls_subject: str = ""
    max_associations: Annotated[int, Field(ge=1)] = 16
    reserved: Annotated[int, Field(ge=0)] = 0
    host: str = ""
    port: Port = 104


class SpoolSettings(Section):
    segment_mb: Annotated[int, Field(ge=1, le=16384)] = 256
    spare_segments: Annotated[int, Field(ge=0)] = 4
    free_space_floor_mb: Annotated[int, Field(ge=0)] = 512
    keep_days: Annotated[int, Field(ge=0)] = 0
    zero_recycled: bool = False


class SenderSettings(Section):
    """How one sender sends: its calling AE title, and how long it may pause within a series."""

    ae_title: Title
    quiet_period_s: Positive


class CompletionSettings(Section):
    quiet_period_s: Positive = 60.0
    ended_quiet_period_s: Positive = 5.0
    incomplete_after_s: Positive = 600.0
    required: tuple[Literal["pre", "post", "mrv", "localizer"], ...] = ()
    missing_role: Literal["proceed", "wait", "refuse"] = "proceed"
    wait_for_roles_s: Positive = 1800.0
    overdue_after_s: Positive = 14400.0
    read_time_limit_s: Positive = 120.0
    sweep_every_s: Positive = 5.0
    post_alone: bool = False
    trigger: str = "quiet-period"
    roles: OptionalPath = None
    sender: tuple[SenderSettings, ...] = ()


class EmgRule(Section):
    """How one site writes what EMG suspects: a pattern on an attribute, that names or implies level and side."""

    attribute: Annotated[str, Field(min_length=1)]
    pattern: Annotated[str, AfterValidator(_pattern)]
    level: str = ""
    side: str = ""


class EmgSettings(Section):
    folder: OptionalPath = None
    sweep_every_s: Positive = 10.0
    rules: tuple[EmgRule, ...] = ()


class JobSettings(Section):
    parallel: Annotated[int, Field(ge=1)] = 1
    poll_every_s: Positive = 0.5
    step_time_limit_s: Positive = 600.0
    step_memory_limit_mb: Annotated[int, Field(ge=128)] = 4096
    recovery_attempts: Annotated[int, Field(ge=1)] = 20


class AnalysisSettings(Section):
    segmenter: str = "auto"
    detector: str = "multiscale"
    labeller: str = "none"
    shortest_stack: Annotated[int, Field(ge=2)] = 5
    widest_pixel_mm: Positive = 2.0
    thickest_slice_mm: Positive = 6.0
    steepest_obliqueness_deg: Positive = 30.0
    most_saturated_fraction: Positive = 0.01
    least_snr: Positive = 10.0
    least_accepted_fraction: Annotated[float, Field(gt=0, le=1)] = 0.6
    longest_translation_mm: Positive = 15.0
    largest_rotation_deg: Positive = 8.0
    largest_residual_mm: Positive = 0.7
    good_residual_mm: Positive = 0.35
    fat_enhancement: Positive = 1.02
    narrowest_gain: Positive = 0.45
    widest_gain: Positive = 2.2
    detector_threshold: Positive = 1.0
    least_muscle_ratio: Positive = 1.5
    least_enhancement_difference_pct: Positive = 25.0
    least_post_contrast_ratio: Positive = 1.05
    asymmetry_flag: Positive = 0.30
    slab_mm: Positive = 30.0
    least_region_voxels: Annotated[int, Field(ge=1)] = 200
    diffuse_ratio: Positive = 1.3
    diffuse_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    levels_above: Annotated[int, Field(ge=0)] = 1
    levels_below: Annotated[int, Field(ge=0)] = 2
    least_post_only_ratio: Positive = 1.5
    vessel_ratio: Positive = 1.5
    ring_mm: Positive = 5.0
    least_mrv_coverage: Annotated[float, Field(gt=0, le=1)] = 0.8
    biopsy_angle_deg: Annotated[float, Field(ge=0, lt=90)] = 60.0
    biopsy_tilt_deg: Annotated[float, Field(ge=0, lt=90)] = 20.0
    canal_margin_mm: Positive = 10.0
    vessel_margin_mm: Positive = 3.0
    biopsy_clearance_mm: Positive = 10.0
    fixed_t1_s: Annotated[float, Field(ge=0)] = 0.0
    relaxivity_per_mm_s: Positive = 4.5

    def configuration_hash(self) -> str:
        """Return the SHA-256 over all values: two findings with one hash were made alike."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class ReportSettings(Section):
    manufacturer: str = "paraspinal-node project"
    model: str = "paraspinal-node"
    serial_number: str = "0"
    institution: str = ""
    objects: tuple[ResultRole, ...] = (
        ResultRole.SEG,
        ResultRole.MAP,
        ResultRole.KEY_IMAGES,
        ResultRole.SR,
        ResultRole.KO,
    )


class DestinationSettings(Section):
    name: Name
    kind: str = "dicom"
    ae_title: Title = "ARCHIVE"
    host: str = "127.0.0.1"
    port: Port = 104
    tls: bool = False
    tls_name: str = ""
    objects: tuple[ResultRole, ...] = tuple(ResultRole)
    pause_s: Annotated[float, Field(ge=0, le=10)] = 0.0
    commitment: bool = False
    verify: bool = False
    query_ae_title: OptionalTitle = ""
    query_host: str = ""
    query_port: Port = 0
    folder: OptionalPath = None
    options: dict[str, str] = {}  # of a plug-in's own

    def gets(self, role: str) -> bool:
        """Return whether objects of a role go there: "seg-muscles" is of the kind "seg"."""
        return any(role == one or role.startswith(f"{one}-") for one in self.objects)


class DeliverySettings(Section):
    attempts: Annotated[int, Field(ge=1)] = 80
    first_wait_s: Positive = 30.0
    longest_wait_s: Positive = 3600.0
    network_timeout_s: Positive = 60.0
    time_limit_s: Positive = 900.0
    commitment_wait_s: Positive = 3600.0

    def wait_s(self, tries: int) -> float:
        """Return after how many seconds to try again what was tried so often: each wait is twice the one before."""
        return min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(max(tries - 1, 0), _MOST_DOUBLINGS))


class ReviewSettings(Section):
    required: bool = False
    organization: str = ""


class RetrievalSettings(Section):
    sweep_every_s: Positive = 5.0
    ask_after_s: Positive = 5.0
    pull_after_s: Positive = 60.0
    look_back_h: Positive = 24.0
    silence_s: Positive = 15.0
    time_limit_s: Positive = 600.0
    first_wait_s: Positive = 10.0
    longest_wait_s: Positive = 900.0
    attempts: Annotated[int, Field(ge=1)] = 10
    most_series: Annotated[int, Field(ge=1)] = 30
    most_instances: Annotated[int, Field(ge=1)] = 2000


class ArchiveSettings(Section):
    """An archive that may be asked; what is pulled from it is nothing, unless `pull` says so."""

    name: Name
    ae_title: Title = "ARCHIVE"
    host: str = "127.0.0.1"
    port: Port = 104
    tls: bool = False
    tls_name: str = ""
    how: Literal["move", "get"] = "move"
    counts: Literal["study", "series", "off"] = "study"
    pull: tuple[Literal["missing", "localizers", "priors", "results"], ...] = ()
    most_priors: Annotated[int, Field(ge=1)] = 2
    prior_days: Annotated[int, Field(ge=1)] = 1825


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(Section):
    """All settings of the node."""

    node: NodeSettings = NodeSettings()
    association: AssociationSettings = AssociationSettings()
    tls: TlsSettings = TlsSettings()
    spool: SpoolSettings = SpoolSettings()
    completion: CompletionSettings = CompletionSettings()
    emg: EmgSettings = EmgSettings()
    jobs: JobSettings = JobSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    report: ReportSettings = ReportSettings()
    delivery: DeliverySettings = DeliverySettings()
    review: ReviewSettings = ReviewSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    log: LogSettings = LogSettings()
    peer: tuple[PeerSettings, ...] = ()
    destination: tuple[DestinationSettings, ...] = ()
    archive: tuple[ArchiveSettings, ...] = ()

    @classmethod
    def checked(cls, values: Mapping[str, Any], *, folder: Path | None = None) -> "Settings":
        """Return settings of `values`, checked; `folder` is where relative paths of optional files begin.

        Raises
        ------
        SettingsError
            With every fault at once, one a line: where, what was found, what is wanted.
        """
        try:
            settings = cls.model_validate(values, context={"folder": folder})
        except ValidationError as error:
            raise SettingsError("\n".join(_line(fault) for fault in _own_faults(error.errors()))) from error
        faults = list(settings._contradictions())
        if faults:
            raise SettingsError("\n".join(faults))
        return settings._with_time_to_ask()

    def _with_time_to_ask(self) -> "Settings":
        """Return the settings so that an archive is asked for earlier results before a study is closed."""
        if not any("results" in one.pull for one in self.archive):
            return self
        asked_s = self.retrieval.ask_after_s + self.retrieval.sweep_every_s + _ANSWERED_S
        quiet_s = max(self.completion.ended_quiet_period_s, asked_s)
        return self.model_copy(
            update={"completion": self.completion.model_copy(update={"ended_quiet_period_s": quiet_s})}
        )

    def _contradictions(self) -> Iterator[str]:
        """Yield what is wrong between settings that are right each by itself."""
        for kind, named in (("destination", self.destination), ("archive", self.archive)):
            names = [one.name for one in named]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                yield f"[[{kind}]] names must differ, found twice: {', '.join(twice)}"
        for archive in self.archive:
            if archive.how == "get" and self.tls.certificate is not None:
                yield f"[[archive]] {archive.name}: how 'get' does not go with [tls]; use 'move'"
        for destination in self.destination:
            here = f"[[destination]] {destination.name}"
            if destination.kind == "folder" and destination.folder is None:
                yield f"{here}: kind 'folder' needs a folder"
            if destination.kind != "dicom" and destination.commitment:
                yield f"{here}: commitment goes with kind 'dicom' only"
            if destination.kind != "dicom" and destination.verify and not destination.query_host:
                yield f"{here}: verify needs a query_host where the kind is not 'dicom'"


def read_settings(path: Path | None) -> Settings:
    """Return the settings of a TOML file, or the defaults.

    Raises
    ------
    SettingsError
        With every fault of the file at once, one a line, each with the file's name.
    """
    if path is None:
        return Settings()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    try:
        return Settings.checked(values, folder=path.absolute().parent)
    except SettingsError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def _own_faults(faults: Sequence[Any]) -> Iterator[Any]:
    """Yield the faults without those that follow from another: a list that is too short for one of it is wrong."""
    places = [fault["loc"] for fault in faults]
    for fault in faults:
        loc = fault["loc"]
        if fault["type"] != "too_short" or not any(len(one) > len(loc) and one[: len(loc)] == loc for one in places):
            yield fault


def _line(fault: Any) -> str:
    """Return one fault as a line: where, what was found, what is wanted. Tables of a list count from 1."""
    loc = fault["loc"]
    where = [str(part + 1) if isinstance(part, int) else part for part in loc]
    place = f"[{where[0]}] {'.'.join(where[1:])}" if len(where) > 1 else where[0]
    match fault["type"]:
        case "extra_forbidden":
            if homes := _tables_with(str(loc[-1])):
                return f"{place}: no such setting here; it belongs in {' or '.join(homes)}"
            near = get_close_matches(str(loc[-1]), _names_beside(loc), n=1)
            return f"{place}: no such setting" + (f"; is {near[0]} meant?" if near else "")
        case "missing":
            return f"{place}: must be given"
        case "tuple_type" if len(loc) == 1:
            return f"{place}: several may be given, so write [[{where[0]}]]"
        case "value_error":  # of our own functions, which quote what they found
            return f"{place}: {fault['ctx']['error']}"
    return f"{place}: {fault['msg']}, not {fault.get('input')!r}"


def _names_beside(loc: Sequence[str | int]) -> list[str]:
    """Return which settings there are in the table of a place."""
    table: type[BaseModel] = Settings
    for name in (part for part in loc[:-1] if isinstance(part, str)):
        table = _table(table.model_fields[name].annotation)
    return list(table.model_fields)


def _tables_with(name: str) -> list[str]:
    """Return the tables of the file that have a setting of this name, as they are written."""
    return [
        f"[[{table}]]" if get_args(field.annotation) else f"[{table}]"
        for table, field in Settings.model_fields.items()
        if name in _table(field.annotation).model_fields
    ]


def _table(kind: Any) -> type[BaseModel]:
    """Return the section that the annotation of a table is, or is several of."""
    return next(one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel))
