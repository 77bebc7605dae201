"""The report as an Encapsulated PDF of one or two pages, for desks whose archive shows no SR."""

import io
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import highdicom as hd
import reportlab
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, DT, TM
from reportlab.lib.colors import HexColor, black, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Frame, KeepInFrame, PageBreak, Paragraph, Spacer, Table
from reportlab.platypus import Image as Placed
from reportlab.platypus.doctemplate import BaseDocTemplate, PageTemplate

from node.findings import Findings
from node.report import codes, wording
from node.report.grids import reference
from node.report.keyimages import Page
from node.report.pages import FOOT, HEAD, table_rows
from node.report.provenance import PDF, Provenance
from node.report.sources import Study

_TITLE = "Paraspinal muscle analysis"
_MARGIN_MM, _BAND_MM = 14, 9
_AMBER, _PALE = HexColor("#ffc800"), HexColor("#f0f0f0")
_JPEG_QUALITY = 88  # chosen: text in the pictures stays clean
_MOST_PICTURES = 2  # of lesions, on the second page

# Embedded, so that lines have the same width on every desk. Bitstream Vera comes with reportlab, under a licence of its
# own that asks for nothing here; a font of the same name that the machine has would make other bytes.
_FONTS = Path(reportlab.__file__).parent / "fonts"
_PLAIN, _BOLD = TTFont("Vera", _FONTS / "Vera.ttf"), TTFont("Vera-Bold", _FONTS / "VeraBd.ttf")
registerFont(_PLAIN)
registerFont(_BOLD)

_BODY = ParagraphStyle("body", fontName=_PLAIN.fontName, fontSize=8, leading=10.5)
_SMALL = ParagraphStyle("small", _BODY, fontSize=6.8, leading=8.6)
_HEAD = ParagraphStyle("head", _BODY, fontName=_BOLD.fontName, fontSize=9.5, leading=12.5, spaceBefore=5, spaceAfter=2)
_SUMMARY = ParagraphStyle("summary", _BODY, fontName=_BOLD.fontName, fontSize=10, leading=13.5)
_LABEL = ParagraphStyle("label", _BODY, fontSize=6.5, leading=8.5)
_IDENTITY = ParagraphStyle("identity", _BODY, fontName=_BOLD.fontName, fontSize=8.3, leading=10.5, splitLongWords=1)


def pdf_report(findings: Findings, pages: Sequence[Page], study: Study, provenance: Provenance) -> Dataset:
    """Return the PDF with the same tables and pictures as the other objects."""
    header = study.header
    content = _written(findings, pages, study, provenance)
    common = provenance.attributes(PDF)
    equipment = common.pop("contributing_equipment")  # which this class of highdicom does not take
    dataset = hd.SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        sop_class_uid=EncapsulatedPDFStorage,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=header.PatientID,
        patient_name=header.PatientName,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        accession_number=header.AccessionNumber,
        study_id=header.StudyID,
        study_date=header.StudyDate,
        study_time=header.StudyTime,
        referring_physician_name=header.ReferringPhysicianName,
        specific_character_set=header.SpecificCharacterSet,
        **common,
    )
    dataset.copy_patient_and_study_information(header)
    dataset.ContributingEquipmentSequence = equipment
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "YES"
    dataset.AcquisitionDateTime = DT(provenance.moment)
    dataset.ContentDate, dataset.ContentTime = DA(provenance.moment.date()), TM(provenance.moment.time())
    dataset.DocumentTitle = f"{_TITLE} (automatic, investigational)"
    dataset.ConceptNameCodeSequence = [hd.sr.CodedConcept.from_code(codes.REPORT_TITLE)]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(content)
    dataset.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    dataset.SourceInstanceSequence = [reference(instance) for instance in study.instances]
    return provenance.finished(dataset)


def _written(findings: Findings, pages: Sequence[Page], study: Study, provenance: Provenance) -> bytes:
    buffer = io.BytesIO()
    width, height = A4
    margin, band = _MARGIN_MM * mm, _BAND_MM * mm
    frame_width, frame_height = width - 2 * margin, height - 2 * margin - 2 * band
    made_by = f"{provenance.algorithm.name} {provenance.algorithm.version}, {provenance.settings.model}"

    def furniture(canvas: Canvas, document: BaseDocTemplate) -> None:
        canvas.setFillColor(_AMBER)
        for y in (height - margin - band + 2 * mm, margin - 2 * mm):
            canvas.rect(margin, y, frame_width, band - 2 * mm, stroke=0, fill=1)
        canvas.setFillColor(black)
        canvas.setFont(_BOLD.fontName, 10)
        canvas.drawCentredString(width / 2, height - margin - band + 4 * mm, "INVESTIGATIONAL - NOT FOR DIAGNOSTIC USE")
        canvas.setFont(_PLAIN.fontName, 7)
        canvas.drawString(margin + 2 * mm, margin + 0.5 * mm, made_by)
        canvas.drawRightString(width - margin - 2 * mm, margin + 0.5 * mm, f"page {document.page}")

    about = {"title": _TITLE, "author": provenance.settings.model}
    document = BaseDocTemplate(buffer, pagesize=A4, invariant=1, initialFontName=_PLAIN.fontName, **about)
    frame = Frame(margin, margin + band, frame_width, frame_height, 0, 0, 0, 0)
    document.addPageTemplates([PageTemplate("page", [frame], onPage=furniture)])
    room = (frame_width, frame_height - 1)
    result, limits = _result(findings, pages, study, frame_width), _limits(findings)
    lesions = [page for page in pages if page.lesion is not None][:_MOST_PICTURES]
    if lesions:
        shown: list[Flowable] = [_placed(page, 0.9 * frame_width) for page in lesions]
        if len(lesions) < len(findings.lesions):
            shown.append(_said("Lesions without a picture here are among the key images, at most six.", _SMALL))
        parts = [KeepInFrame(*room, result, mode="shrink"), PageBreak()]
        document.build([*parts, KeepInFrame(*room, [*shown, *limits], mode="shrink")])
    else:
        document.build([KeepInFrame(*room, [*result, *limits], mode="shrink")])
    return buffer.getvalue()


def _result(findings: Findings, pages: Sequence[Page], study: Study, width: float) -> list[Flowable]:
    told: list[Flowable] = [
        Paragraph(_TITLE, ParagraphStyle("title", _HEAD, fontSize=14, leading=18)),
        _patient(study, width),
        Spacer(0, 3 * mm),
        _said(wording.summary(findings), _SUMMARY),
    ]
    if findings.grade is not None:
        told.append(_said(f"Grade: {wording.grade(findings)}"))
    told += [_said(one) for one in wording.refusals(findings)]
    if findings.suspicion is not None:
        told.append(_said(wording.suspicion(findings.suspicion, findings.answer)))
    overview = next((page for page in pages if page.lesion is None), None)
    if overview is not None:
        told += [Spacer(0, 2 * mm), _placed(overview, width)]
    if findings.lesions:
        told.append(_said("Focal candidates", _HEAD))
        told += [_said(wording.lesion(one)) for one in findings.lesions]
        told += [_said(wording.biopsy(one, one.biopsy), _SMALL) for one in findings.lesions if one.biopsy]
    told += [_said(one, _SMALL) for one in (wording.comparison(findings), *wording.changes(findings))]
    if findings.muscles:
        told.append(_said("Muscles", _HEAD))
        told += [_said(wording.muscle(one)) for one in findings.muscles]
    if any(row.enhancement_pct is not None for row in findings.levels):
        head = ("level", "left, %", "right, %", "asymmetry index, %", "")
        told += [_said("Enhancement by level", _HEAD), _table([head, *table_rows(findings)])]
        told.append(_said(wording.level_basis(findings), _SMALL))
    return told


def _limits(findings: Findings) -> list[Flowable]:
    told: list[Flowable] = []
    if findings.grade or findings.lesions:
        told.append(_said(wording.DIFFERENTIAL, _SMALL))
    if findings.caveats:
        told.append(_said("Limitations", _HEAD))
        told += [_said(wording.note(one), _SMALL) for one in findings.caveats]
    told.append(_said("Quality", _HEAD))
    if findings.gates:
        failed = [wording.gate(one) for one in findings.gates if not one.passed]
        passed = f"{len(findings.gates) - len(failed)} of {len(findings.gates)} quality checks passed"
        told.append(_said("; ".join([passed, *failed]) + ".", _SMALL))
    told.append(_said(f"SHA-256 of all parameters: {findings.algorithm.configuration_hash}", _SMALL))
    return told


def _said(text: str, style: ParagraphStyle = _BODY) -> Paragraph:
    """Return a paragraph in which no number is parted from its percent sign."""
    return Paragraph(escape(text).replace(" %", "\xa0%"), style)


def _patient(study: Study, width: float) -> Table:
    """Return who was examined. The archive's header counts: what this font lacks is left to it."""
    header = study.header
    cells = (
        ("Patient", _shown(study, _name(str(header.PatientName or "")))),
        ("Patient ID", _shown(study, header.PatientID)),
        ("Birth date", _date(header.PatientBirthDate)),
        ("Study date", _date(header.StudyDate)),
        ("Accession", _shown(study, header.AccessionNumber)),
    )
    written = [[_said(label, _LABEL) for label, _text in cells], [_said(text, _IDENTITY) for _label, text in cells]]
    table = Table(written, [share * width for share in (0.32, 0.23, 0.13, 0.13, 0.19)])
    table.setStyle([("FONT", (0, 0), (-1, -1), _PLAIN.fontName),  # else a table asks for Helvetica, and writes nothing
                    ("BACKGROUND", (0, 0), (-1, -1), _PALE), ("VALIGN", (0, 0), (-1, -1), "TOP"),
                    ("BOTTOMPADDING", (0, 0), (-1, 0), 0), ("TOPPADDING", (0, 1), (-1, 1), 0)])  # fmt: skip
    return table


def _name(text: str) -> str:
    """Return a name as it is read, of its groups (PS3.5 6.2.1) the alphabetic one, if there is one."""
    groups = [" ".join(group.replace("^", " ").split()) for group in text.split("=")]
    return next((group for group in groups if group), "")


def _date(value: object) -> str:
    text = str(value or "")
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text else ""


def _shown(study: Study, value: object) -> str:
    text = "" if value is None else str(value)
    in_font = all(ord(one) in _BOLD.face.charToGlyph for one in text)
    readable = study.received_set is None and text.isprintable() and in_font
    return text if readable else "as in the DICOM header"


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(
        [[*row] for row in rows], [28 * mm, 22 * mm, 22 * mm, 34 * mm, 50 * mm], rowHeights=4.6 * mm, hAlign="LEFT"
    )
    table.setStyle([("FONT", (0, 0), (-1, -1), _PLAIN.fontName, 7.5), ("FONT", (0, 0), (-1, 0), _BOLD.fontName, 7.5),
                    ("ALIGN", (1, 0), (3, -1), "RIGHT"), ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                    ("ROWBACKGROUNDS", (0, 1), (-1, -1), (white, _PALE)),
                    ("LINEBELOW", (0, 0), (-1, 0), 0.5, black)])  # fmt: skip
    return table


def _placed(page: Page, width: float) -> Placed:
    """Return a page without its banner, which the document has; that of the examination without its head, too."""
    image = page.image.crop((0, HEAD if page.lesion is None else 0, page.image.width, page.image.height - FOOT))
    return Placed(_jpeg(image), width, width * image.height / image.width)


def _jpeg(image: Image.Image) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    buffer.seek(0)
    return buffer
