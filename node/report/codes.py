"""Every code we write, and the identification of the schemes they come from.

Codes are pydicom's `Code`, which cannot change: a highdicom `CodedConcept` is stored by reference, so a modifier
added at one place would appear at all. Where a comment names a CID, value and meaning are those of PS3.16.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.findings import VERTEBRAE as LEVELS

PRIVATE_SCHEME = "99PVM"

# A value is never used again for something else and a meaning is never re-worded once a release has written it:
# archives keep them for decades. Values up to 16 characters (a longer one becomes a Long Code Value), meanings up
# to 64 (PS3.3 section 8.1). PVM036 is kept for a classifier.
PRIVATE_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "PVM001": "Pre-contrast signal intensity",
        "PVM002": "Post-contrast signal intensity",
        "PVM003": "Relative signal enhancement",
        "PVM004": "Lesion to reference muscle enhancement ratio",
        "PVM005": "Left-right enhancement asymmetry index",
        "PVM006": "Vessel volume fraction on MR venography",
        "PVM007": "Enhancing volume fraction",
        "PVM008": "Centroid distance from midsagittal plane",
        "PVM009": "Vessel volume fraction around the lesion on MR venography",
        "PVM013": "Intended use statement",
        "PVM014": "MR venography vascularity relative to reference muscle",
        "PVM015": "Increased",
        "PVM016": "Not increased",
        "PVM018": "Paravertebral venous plexus",
        "PVM019": "Voxelwise percent enhancement of T1 weighted MR signal",
        "PVM020": "Analysis input completeness",
        "PVM021": "Pre and post contrast T1 and MR venography present",
        "PVM022": "Post contrast T1 only",
        "PVM023": "Pre and post contrast T1 without MR venography",
        "PVM024": "Post contrast T1 and MR venography, no pre contrast T1",
        "PVM030": "Largest axial in-plane diameter and its perpendicular",
        "PVM031": "Threshold on percent enhancement map",
        "PVM032": "Threshold on MR venography",
        "PVM033": "Ratio of relative enhancements",
        "PVM034": "Difference over sum of left and right enhancement",
        "PVM035": "Centroid of segmented voxels",
        "PVM036": "Classifier output",
        "PVM040": "Enhancement grade, not a tumor grade",
        "PVM041": "Not measured",
        "PVM042": "Limitation",
        "PVM043": "Quality check",
        "PVM044": "Level and side suspected by EMG",
        "PVM045": "Vertebral level and counting basis",
        "PVM046": "Enhancement relative to the other levels",
        "PVM047": "Fat fraction",
        "PVM048": "Relative signal enhancement of water",
        "PVM049": "Left-right vessel fraction asymmetry index",
        "PVM050": "Distance to paravertebral venous plexus",
        "PVM051": "Vessel between lesion and paravertebral venous plexus",
        "PVM052": "Peak relative signal enhancement",
        "PVM053": "Peak relative signal enhancement in the first minute",
        "PVM054": "Muscle by level",
        "PVM055": "Biopsy path, a geometric proposal",
        "PVM056": "Relative signal enhancement at one vertebral level",
        "PVM057": "Left-right enhancement asymmetry index at one vertebral level",
        "PVM058": "Vessel volume fraction on MR venography at one vertebral level",
        "PVM059": "Fat fraction at one vertebral level",
        "PVM060": "Ratio to the median of the other levels",
        "PVM061": "Ratio of Dixon fat to fat and water",
        "PVM062": "Enhancement without the signal of fat",
        "PVM063": "Difference over sum of left and right vessel fraction",
        "PVM064": "Border of segmented voxels",
        "PVM065": "Signal in percent of the baseline over time",
        "PVM066": "Tofts model, baseline T1 assumed",
        "PVM067": "Centroid position toward the patient's left",
        "PVM068": "Centroid position toward the patient's back",
        "PVM069": "Centroid position toward the patient's head",
        "PVM070": "Volume in the earlier result",
        "PVM071": "Long axis in the earlier result",
        "PVM072": "Relative signal enhancement in the earlier result",
        "PVM073": "Change of volume since the earlier result",
        "PVM074": "Change of long axis since the earlier result",
        "PVM075": "Change of relative enhancement since the earlier result",
        "PVM076": "Recognized as the lesion of an earlier result",
        "PVM077": "By its place in one frame of reference",
        "PVM078": "By level, side and depth, not registered",
        "PVM079": "As told by the earlier result",
        "PVM080": "Difference of two results",
        "PVM081": "By its place after registration of the earlier images",
    }
)


def _private(value: str) -> Code:
    return Code(value, PRIVATE_SCHEME, PRIVATE_MEANINGS[value])


# Document: TID 1500, 1204, 1600, 1602 - 1606
REPORT_TITLE = Code("126000", "DCM", "Imaging Measurement Report")  # CID 7021; OHIF 3.13 shows others as text
PROCEDURE_REPORTED = Code("25056-3", "LN", "MRI unspecified body region")  # CID 100; PixelMed: any other is an error
ENGLISH = Code("en-US", "RFC5646", "English (United States)")  # TID 1204, CID 5000
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE = Code("121007", "DCM", "Device")  # CID 270
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")  # TID 1601; pydicom's "Source (attribute)" is SNOMED's long name
MODALITY = Code("121139", "DCM", "Modality")
MAGNETIC_RESONANCE = Code("MR", "DCM", "Magnetic Resonance")  # CID 29
STUDY_DATE = Code("111060", "DCM", "Study Date")
STUDY_TIME = Code("111061", "DCM", "Study Time")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
PIXEL_DATA_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
HORIZONTAL_PIXEL_SPACING = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING = Code("111066", "DCM", "Vertical Pixel Spacing")
SPACING_BETWEEN_SLICES = Code("112226", "DCM", "Spacing between slices")
SLICE_THICKNESS = Code("112225", "DCM", "Slice Thickness")
IMAGE_ORIENTATION = (
    Code("110904", "DCM", "Image Orientation (Patient) Row X"),
    Code("110905", "DCM", "Image Orientation (Patient) Row Y"),
    Code("110906", "DCM", "Image Orientation (Patient) Row Z"),
    Code("110907", "DCM", "Image Orientation (Patient) Column X"),
    Code("110908", "DCM", "Image Orientation (Patient) Column Y"),
    Code("110909", "DCM", "Image Orientation (Patient) Column Z"),
)
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500 row 12

# Measurement groups: TID 1411, 1501, 1419
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")  # TID 4108
TRACKING_UNIQUE_IDENTIFIER = Code("112040", "DCM", "Tracking Unique Identifier")  # TID 4108
SOURCE_SERIES = Code("121232", "DCM", "Source series for segmentation")

# Anatomy and findings
DEEP_BACK_MUSCLE = Code("244849004", "SCT", "Deep muscle of back")  # TotalSegmentator's name for multifidus + erector
MUSCLE = Code("91727004", "SCT", "Muscle")  # CID 7166, 7191
VEIN = Code("29092000", "SCT", "Vein")  # CID 7191
VENOUS_PLEXUS = _private("PVM018")  # no verified standard code
VERTEBRAE = tuple(  # CID 7603, but for S1: a code of SNOMED that PS3.16 does not list
    Code(value, "SCT", f"{level} vertebra")
    for level, value in zip(
        LEVELS,
        (
            "14806007", "39976000", "113205007", "5329002", "36978003", "36054005", "87391001",
            "64864005", "53733008", "1626008", "73071006", "56401006", "45296009", "62487009", "11068009",
            "82687006", "7610001", "12989004", "23215003",
            "66794005", "14293000", "36470004", "11994002", "49668003", "65985001",
        ),
        strict=True,
    )
)  # fmt: skip
LEFT = Code("7771000", "SCT", "Left")  # CID 244
RIGHT = Code("24028007", "SCT", "Right")  # CID 244
ENHANCING_LESION = Code("C113842", "NCIt", "Enhancing Lesion")  # CID 7159; never a diagnosis
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")  # CID 7150
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")  # CID 7150

# Measurements
VOLUME = Code("118565006", "SCT", "Volume")  # CID 7472
LONG_AXIS = Code("103339001", "SCT", "Long axis")  # CID 7470
SHORT_AXIS = Code("103340004", "SCT", "Short axis")  # CID 7470
DISTANCE_FROM_SKIN = Code("121243", "DCM", "Distance from skin")  # CID 6165
PRE_SIGNAL = _private("PVM001")
POST_SIGNAL = _private("PVM002")
ENHANCEMENT = _private("PVM003")
MUSCLE_RATIO = _private("PVM004")
ASYMMETRY = _private("PVM005")
VESSEL_FRACTION = _private("PVM006")
ENHANCING_FRACTION = _private("PVM007")
DISTANCE_FROM_MIDLINE = _private("PVM008")
VESSEL_FRACTION_AROUND = _private("PVM009")
CENTROID_POSITION = (_private("PVM067"), _private("PVM068"), _private("PVM069"))  # x, y, z of LPS
EARLIER_VOLUME = _private("PVM070")
EARLIER_LONG_AXIS = _private("PVM071")
EARLIER_ENHANCEMENT = _private("PVM072")
CHANGE_OF_VOLUME = _private("PVM073")
CHANGE_OF_LONG_AXIS = _private("PVM074")
CHANGE_OF_ENHANCEMENT = _private("PVM075")
RELATIVE_TO_LEVELS = _private("PVM046")
FAT_FRACTION = _private("PVM047")
WATER_ENHANCEMENT = _private("PVM048")
VESSEL_ASYMMETRY = _private("PVM049")
DISTANCE_TO_PLEXUS = _private("PVM050")
PEAK_ENHANCEMENT = _private("PVM052")
FIRST_MINUTE_ENHANCEMENT = _private("PVM053")
LEVEL_ENHANCEMENT = _private("PVM056")
LEVEL_ASYMMETRY = _private("PVM057")
LEVEL_VESSEL_FRACTION = _private("PVM058")
LEVEL_FAT_FRACTION = _private("PVM059")
BOLUS_ARRIVAL_TIME = Code("126371", "DCM", "Bolus Arrival Time")  # CID 4109, as the five that follow
TIME_TO_PEAK = Code("113069", "DCM", "Time To Peak")
MAXIMUM_SLOPE = Code("126375", "DCM", "Maximum Slope")
IAUC60 = Code("126321", "DCM", "IAUC60")
IAUC90 = Code("126322", "DCM", "IAUC90")
KTRANS = Code("126312", "DCM", "Ktrans")  # CID 4107, as the two that follow
KEP = Code("126313", "DCM", "kep")
VE = Code("126314", "DCM", "ve")
PERCENT_ENHANCEMENT = _private("PVM019")  # quantity of the parametric map

MEDIAN = Code("373099004", "SCT", "Median")  # CID 7464
MAXIMUM = Code("56851009", "SCT", "Maximum")  # CID 7464
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")  # CID 7464
SUM_OF_VOXELS = Code("126030", "DCM", "Sum of segmented voxel method for volume")  # CID 7474
IN_PLANE_DIAMETERS = _private("PVM030")
ENHANCEMENT_THRESHOLD = _private("PVM031")
VENOGRAPHY_THRESHOLD = _private("PVM032")
RATIO_OF_ENHANCEMENTS = _private("PVM033")
DIFFERENCE_OVER_SUM = _private("PVM034")
CENTROID = _private("PVM035")
RATIO_TO_OTHER_LEVELS = _private("PVM060")
DIXON = _private("PVM061")
WITHOUT_FAT = _private("PVM062")
VESSEL_DIFFERENCE_OVER_SUM = _private("PVM063")
BORDER = _private("PVM064")
OVER_TIME = _private("PVM065")
TOFTS = _private("PVM066")
TOLD_EARLIER = _private("PVM079")
DIFFERENCE_OF_RESULTS = _private("PVM080")

PERCENT = Code("%", "UCUM", "Percent")
RATIO = Code("{ratio}", "UCUM", "ratio")
MILLIMETER = Code("mm", "UCUM", "mm")
CUBIC_MILLIMETER = Code("mm3", "UCUM", "cubic millimeter")
SECOND = Code("s", "UCUM", "second")
PER_MINUTE = Code("/min", "UCUM", "/min")
PERCENT_PER_SECOND = Code("%/s", "UCUM", "percent per second")
PERCENT_SECONDS = Code("%.s", "UCUM", "percent second")
NO_UNIT = Code("1", "UCUM", "no units")
ARBITRARY_UNIT = Code("[arb'U]", "UCUM", "arbitrary unit")
PIXELS = Code("{pixels}", "UCUM", "Pixels")  # TID 1604
DIRECTION_COSINE = Code("{-1:1}", "UCUM", "{-1:1}")  # TID 1604

# Qualitative evaluations
ENHANCEMENT_PATTERN = Code("RID6058", "RADLEX", "Enhancement pattern")
FOCAL_ENHANCEMENT = Code("130604", "DCM", "Focal Contrast Enhancement")  # CID 6345
DIFFUSE_ENHANCEMENT = Code("130603", "DCM", "Diffuse Contrast Enhancement")  # CID 6345, as the three that follow
PERSISTENT = Code("130597", "DCM", "Persistent delayed phase: Type 1 curve")
PLATEAU = Code("130598", "DCM", "Plateau delayed phase: Type 2 curve")
WASHOUT = Code("130599", "DCM", "Washout delayed phase: Type 3 curve")
DRAINING_VESSEL = _private("PVM051")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
VASCULARITY = Code("111372", "DCM", "Vascularity")
VASCULARITY_NOT_PRESENT = Code("111373", "DCM", "Vascularity not present")  # CID 6157
VASCULARITY_NOT_ASSESSED = Code("111374", "DCM", "Vascularity not assessed")  # CID 6157
VASCULARITY_IN_LESION = Code("111375", "DCM", "Vascularity present in lesion")  # CID 6157
VENOGRAPHY_VASCULARITY = _private("PVM014")
INCREASED = _private("PVM015")
NOT_INCREASED = _private("PVM016")
RECOGNIZED = _private("PVM076")
BY_PLACE = _private("PVM077")
BY_LEVEL_AND_DEPTH = _private("PVM078")
BY_REGISTRATION = _private("PVM081")

PROCESSING_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
ALL_WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")  # CID 6047
ALL_WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")  # CID 6047
SOME_WITHOUT_FINDINGS = Code("111243", "DCM", "Not all algorithms succeeded; without findings")  # CID 6047
SOME_WITH_FINDINGS = Code("111244", "DCM", "Not all algorithms succeeded; with findings")  # CID 6047
NONE_SUCCEEDED = Code("111245", "DCM", "No algorithms succeeded; without findings")  # CID 6047

STUDY_QUALITY = Code("130549", "DCM", "Imaging Study Quality")
SERIES_QUALITY = Code("130550", "DCM", "Imaging Series Quality")
DIAGNOSTIC_QUALITY = Code("RID12", "RADLEX", "Diagnostic quality")  # CID 7036
LIMITED_QUALITY = Code("RID13", "RADLEX", "Limited quality")  # CID 7036
NON_DIAGNOSTIC_QUALITY = Code("RID14", "RADLEX", "Non-diagnostic quality")  # CID 7036
QUALITY_FINDING = Code("111052", "DCM", "Quality Finding")
INCOMPLETE_COVERAGE = Code("130576", "DCM", "Anatomy coverage incomplete")  # CID 6315
POOR_SNR = Code("130578", "DCM", "Poor SNR")  # CID 6315
POOR_CONTRAST_TIMING = Code("130579", "DCM", "Poor contrast timing")  # CID 6315
INADEQUATE_ENHANCEMENT = Code("130580", "DCM", "Inadequate contrast enhancement")  # CID 6315

INPUT_COMPLETENESS = _private("PVM020")
PRE_POST_AND_VENOGRAPHY = _private("PVM021")
POST_ONLY = _private("PVM022")
PRE_AND_POST = _private("PVM023")
POST_AND_VENOGRAPHY = _private("PVM024")

SUMMARY = Code("121111", "DCM", "Summary")
FINDING = Code("121071", "DCM", "Finding")
DIFFERENTIAL = Code("111023", "DCM", "Differential Diagnosis/Impression")
INTENDED_USE = _private("PVM013")
GRADE = _private("PVM040")
NOT_MEASURED = _private("PVM041")
LIMITATION = _private("PVM042")
QUALITY_CHECK = _private("PVM043")
EMG_SUSPICION = _private("PVM044")
LEVEL_BASIS = _private("PVM045")
MUSCLE_BY_LEVEL = _private("PVM054")
BIOPSY_PATH = _private("PVM055")
COMPARISON = Code("111424", "DCM", "Comparison to previous studies")
CHANGE = Code("111021", "DCM", "Description of Change")

# Key images
ILLUSTRATION = Code("121200", "DCM", "Illustration of ROI")  # TID 1411 row 13
OF_INTEREST = Code("113000", "DCM", "Of Interest")  # CID 7010
SOURCE_OF_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202

# Outlines: TID 1410
CENTER_OF_MASS = Code("128138", "DCM", "Center of Mass")  # CID 219
TARGET = Code("128140", "DCM", "Representative point")  # CID 219

# Equipment and algorithm
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
HISTOGRAM_ANALYSIS = Code("123105", "DCM", "Histogram Analysis")  # CID 7162: thresholds and filters, nothing learned

WRITTEN = frozenset(
    (code.value, code.scheme_designator, code.meaning)
    for entry in tuple(vars().values())
    for code in (entry if isinstance(entry, tuple) and not isinstance(entry, Code) else (entry,))
    if isinstance(code, Code)
)  # every constant above, as (value, scheme, meaning)


def vertebra(level: str | None) -> Code | None:
    """Return the code of a vertebra; None for a disc, several vertebrae, or none."""
    return VERTEBRAE[LEVELS.index(level)] if level in LEVELS else None


def level_of(code: Code) -> str | None:
    """Return the name of a vertebra by its code; None if it is none."""
    return LEVELS[VERTEBRAE.index(code)] if code in VERTEBRAE else None


_PUBLIC_SCHEMES = {  # PS3.16 table 8-1
    "DCM": ("1.2.840.10008.2.16.4", "DICOM Controlled Terminology"),
    "LN": ("2.16.840.1.113883.6.1", "LOINC"),
    "NCIt": ("2.16.840.1.113883.3.26.1.1", "NCI Thesaurus"),
    "RADLEX": ("2.16.840.1.113883.6.256", "RadLex"),
    "SCT": ("2.16.840.1.113883.6.96", "SNOMED CT"),
    "UCUM": ("2.16.840.1.113883.6.8", "Unified Code for Units of Measure"),
    "UMLS": ("2.16.840.1.113883.6.86", "Unified Medical Language System"),
}
PRIVATE_SCHEME_UID = "2.25.61018591353669656744707400588874690636"  # ours for good, made once


def identify_schemes(dataset: Dataset, *, organization: str) -> list[Dataset]:
    """Return the items of Coding Scheme Identification Sequence for the schemes that `dataset` uses (PS3.3 C.12.1)."""
    used = {element.value for element in dataset.iterall() if element.keyword == "CodingSchemeDesignator"}
    return [_identification(scheme, organization) for scheme in sorted(used & {*_PUBLIC_SCHEMES, PRIVATE_SCHEME})]


def _identification(scheme: str, organization: str) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = scheme
    if scheme == PRIVATE_SCHEME:
        item.CodingSchemeUID = PRIVATE_SCHEME_UID
        item.CodingSchemeName = "Paravertebral muscle MRV analysis codes"
        item.CodingSchemeVersion = "1"  # here only: in a code item it would become part of the code's identity
        item.CodingSchemeResponsibleOrganization = organization
    else:
        item.CodingSchemeRegistry = "HL7"
        item.CodingSchemeUID, item.CodingSchemeName = _PUBLIC_SCHEMES[scheme]
    return item
