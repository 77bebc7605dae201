"""The report as an Encapsulated PDF of one or two pages, for desks whose archive shows no SR."""

import io
from collections.abc import Sequence
from xml.sax.saxutils import escape

import highdicom as hd
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, DT, TM
from reportlab.lib.colors import HexColor, black, white
from reportlab.lib.enums import TA_CENTER
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
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

_BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=9, leading=11.5)
_SMALL = ParagraphStyle("small", _BODY, fontSize=7.5, leading=9.2)
_HEAD = ParagraphStyle("head", _BODY, fontName="Helvetica-Bold", fontSize=11, leading=14, spaceBefore=5, spaceAfter=2)
_SUMMARY = ParagraphStyle("summary", _BODY, fontName="Helvetica-Bold", fontSize=11.5, leading=14.5)
_CAPTION = ParagraphStyle("caption", _SMALL, alignment=TA_CENTER)


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
        canvas.setFont("Helvetica-Bold", 11)
        canvas.drawCentredString(width / 2, height - margin - band + 4 * mm, "INVESTIGATIONAL - NOT FOR DIAGNOSTIC USE")
        canvas.setFont("Helvetica", 8)
        canvas.drawString(margin + 2 * mm, margin + 0.5 * mm, made_by)
        canvas.drawRightString(width - margin - 2 * mm, margin + 0.5 * mm, f"page {document.page}")

    document = BaseDocTemplate(buffer, pagesize=A4, invariant=1, title=_TITLE, author=provenance.settings.model)
    frame = Frame(margin, margin + band, frame_width, frame_height, 0, 0, 0, 0)
    document.addPageTemplates([PageTemplate("page", [frame], onPage=furniture)])
    room = (frame_width, frame_height - 1)
    result, limits = _result(findings, pages, study, frame_width), _limits(findings)
    lesions = [page for page in pages if page.lesion is not None][:_MOST_PICTURES]
    if lesions:
        shown = [_placed(page, 0.9 * frame_width) for page in lesions]
        parts = [KeepInFrame(*room, result, mode="shrink"), PageBreak()]
        document.build([*parts, KeepInFrame(*room, [*shown, *limits], mode="shrink")])
    else:
        document.build([KeepInFrame(*room, [*result, *limits], mode="shrink")])
    return buffer.getvalue()


def _result(findings: Findings, pages: Sequence[Page], study: Study, width: float) -> list[Flowable]:
    told: list[Flowable] = [
        Paragraph(_TITLE, ParagraphStyle("title", _HEAD, fontSize=16, leading=20)),
        _patient(study, width),
        Spacer(0, 3 * mm),
        Paragraph(escape(wording.summary(findings)), _SUMMARY),
        Paragraph(escape(f"Grade: {wording.grade(findings)}"), _BODY),
    ]
    if findings.suspicion is not None:
        told.append(Paragraph(escape(wording.suspicion(findings.suspicion, findings.answer)), _BODY))
    overview = next((page for page in pages if page.lesion is None), None)
    if overview is not None:
        told += [Spacer(0, 2 * mm), _placed(overview, width)]
    if findings.lesions:
        told.append(Paragraph("Focal candidates", _HEAD))
        told += [Paragraph(escape(wording.lesion(one)), _BODY) for one in findings.lesions]
        told += [Paragraph(escape(wording.biopsy(one, one.biopsy)), _SMALL) for one in findings.lesions if one.biopsy]
    told += [Paragraph(escape(one), _SMALL) for one in (wording.comparison(findings), *wording.changes(findings))]
    if findings.muscles:
        told.append(Paragraph("Muscles", _HEAD))
        told += [Paragraph(escape(wording.muscle(one)), _BODY) for one in findings.muscles]
    if findings.levels:
        head = ("level", "left, %", "right, %", "asymmetry index, %", "")
        told += [Paragraph("Enhancement by level", _HEAD), _table([head, *table_rows(findings)])]
        told.append(Paragraph(escape(wording.level_basis(findings)), _SMALL))
    return told


def _limits(findings: Findings) -> list[Flowable]:
    told: list[Flowable] = []
    if findings.grade or findings.lesions:
        told.append(Paragraph(escape(wording.DIFFERENTIAL), _SMALL))
    for title, notes in (("Not measured", findings.refusals), ("Limitations", findings.caveats)):
        if notes:
            told.append(Paragraph(title, _HEAD))
            told += [Paragraph(escape(wording.note(one)), _SMALL) for one in notes]
    failed = [wording.gate(one) for one in findings.gates if not one.passed]
    passed = f"{len(findings.gates) - len(failed)} of {len(findings.gates)} quality checks passed"
    told.append(Paragraph("Quality", _HEAD))
    told.append(Paragraph(escape("; ".join([passed, *failed])) + ".", _SMALL))
    told.append(Paragraph(f"SHA-256 of all parameters: {escape(findings.algorithm.configuration_hash)}", _SMALL))
    return told


def _patient(study: Study, width: float) -> Table:
    """Return who was examined. The archive's header counts: a name that this font lacks is left to it."""
    header = study.header
    name = str(header.PatientName or "").replace("^", " ").strip()
    readable = study.received_set is None and name.isprintable() and _in_font(name)
    cells = (
        ("Patient", name if readable else "as in the DICOM header"),
        ("Patient ID", _shown(study, header.PatientID)),
        ("Study date", _date(str(header.StudyDate or ""))),
        ("Accession", _shown(study, header.AccessionNumber)),
    )
    table = Table([[label for label, _text in cells], [text for _label, text in cells]], [width / 4] * 4)
    table.setStyle([("FONT", (0, 0), (-1, 0), "Helvetica", 7), ("FONT", (0, 1), (-1, 1), "Helvetica-Bold", 9.5),
                    ("BACKGROUND", (0, 0), (-1, -1), _PALE), ("BOTTOMPADDING", (0, 0), (-1, 0), 0)])  # fmt: skip
    return table


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text else ""


def _shown(study: Study, value: object) -> str:
    text = "" if value is None else str(value)
    return text if study.received_set is None and _in_font(text) else "as in the DICOM header"


def _in_font(text: str) -> bool:
    """Return whether Helvetica has every character: those of Windows-1252."""
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(
        [[*row] for row in rows], [28 * mm, 22 * mm, 22 * mm, 34 * mm, 50 * mm], rowHeights=4.6 * mm, hAlign="LEFT"
    )
    table.setStyle([("FONT", (0, 0), (-1, -1), "Helvetica", 8.5), ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 8.5),
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
