"""Free text to level and side: English and German; French, Spanish and Italian where their words are plain.

It is a careful reader, no clever one. A level and a side count only in a sentence that speaks of EMG or denervation.
A denied or former finding, two sides, levels that are no neighbours: nothing is taken, and the reason is kept.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from node.errors import SettingsError

SuspectedSide = Literal["left", "right", "both"]

ROOTS = tuple(
    f"{letter}{number}" for letter, last in (("C", 8), ("T", 12), ("L", 5), ("S", 1)) for number in range(1, last + 1)
)  # nerve roots from head to feet

NO_EMG = "no EMG finding is named"
DENIED = "the finding is denied, a former one, or still to come"
TWO_SIDES = "two sides are named"
NO_SIDE = "no side is named"
NO_LEVEL = "no level is named"
SEVERAL_LEVELS = "levels are named that are no neighbours"
UNKNOWN_LEVEL = "a level is named that does not exist"
WEIGHTING = "T1 or T2 may be a weighting of the MRI"

_LONGEST_TEXT = 20_000  # characters; LT has 10,240 (PS3.5 table 6.2-1). Behind it nobody writes an indication


@dataclass(frozen=True, slots=True)
class Unclear:
    """Why nothing was taken from a text that speaks of EMG; one of the sentences above, never the text."""

    reason: str


# Texts are compared without case, accents and typographic dashes (`_plain`).
_FINDING = re.compile(
    r"\b(?:e(?:n)?mg\b|ele[ckt]tromi?y?ogra|needle (?:exam|study)|nadelmyogra"
    r"|d[ei]nerv|positive sharp wave|psw\b|steile(?:n|r)? positive|scharfe(?:n|r)? wellen?"
    r"|(?:spontaneous|abnormal insertional) activity|(?:pathologische )?spontanaktivitat"
    r"|activite spontanee|actividad espontanea|attivita spontanea"
    r"|(?:posterior|dorsal) (?:primary )?(?:ramus|rami)|(?:ramus|rami) (?:dorsalis|dorsales|posterior)"
    r"|(?:ramo|rameau|branche) (?:posterior|dorsal|posteriore|posterieure?|dorsale))"
    r"|(?<!atrial )(?<!ventricular )(?<!auricular )(?<!auriculaire )(?<!atriale )\bfibri(?:llation|llationen|llacion"
    r"|llaciones|llazion|lazion|lacion|llier)"
)
_DENIAL = re.compile(
    r"\b(?:no|not|without|none|nor|denie[sd]|negative|normal|unremarkable|ruled out|excluded|absent|free of|resolved"
    r"|former(?:ly)?|previous(?:ly)?|history of|unlikely|kein(?:e[nrsm]?)?|nicht|ohne|negativ(?:e[rsn]?)?"
    r"|normale[rsn]?|unauffallig(?:e[rsn]?)?|regelrecht(?:e[rsn]?)?|ausgeschlossen|fruher(?:e[rsn]?)?"
    r"|zustand nach|z\. ?n\.|ehemalige?[rsn]?|pas|sans|aucune?|sin|ningun[ao]?|descarta(?:d[ao])?|non|senza|nessun[ao]?"
    r"|normali?|negativ[oi]|pending|planned|requested|to follow|geplant|ausstehend|steht aus|folgt|angefordert|prevue?"
    r"|pendiente|in attesa)(?!\w)"
)
# Other complaints than a finding of EMG; what EMG itself concludes, such as a radiculopathy, is none of them.
_COMPLAINT = re.compile(
    r"\b(?:pain|ache|aching|backache|tender|schmerz|ruckenschmerz|druckschmerz|douleur|douloureu|dolor|dolore|dolent"
    r"|lumbag|lumbalgi|lombalgi|sciati[cq]|ischia|numb|taub|tingling|kribbel|par(?:a)?esthesi|parasthesi|hyp(?:o|a)?esthesi"
    r"|hypasthesi|weak(?:ness)?\b|schwache|pares[ie]|lahm|faiblesse|debilidad|debolezza|swelling|schwellung|gonfiore"
    r"|gonflement|hinchazon|prolaps|protrusion|herni|ernia|bandscheib|disc\b|disk\b|stenos|fra[ck]tur|surgery|operat"
    r"|op\b|spondylod|laminectom|metasta|tumou?r|neoplas|carcinom|karzinom|cancer|krebs|mass\b|raumforderung)"
    r"|(?:kreuz|rucken|bein|nacken|druck|becken|hals)schmerz"
)
_WITH = r"(?:and|with|und|mit|sowie|et|avec|y|con|e|bei|plus|&)"
_CLAUSE = re.compile(rf",|\b{_WITH}\b(?=\s+(?:[\w-]+\s+){{0,2}}?(?:{_COMPLAINT.pattern}|{_FINDING.pattern}))")
_LEFT = (
    r"left(?! (?:the|a|his|her|at|work|hospital)\b)(?!-?\s?hand)|lt|links(?!hand)(?:seitig(?:e[rsn]?)?)?|linke[rsnm]?"
    r"|linksbetont|lks|li|gauches?|izquierd[oa]s?|izq|izda|izdo|sinistr[oaei]|sinister"
)
_RIGHT = (
    r"right(?! (?:away|now)\b)(?!-?\s?hand)|rt|rechts(?!hand)(?:seitig(?:e[rsn]?)?)?|rechte[rsnm]?|rechtsbetont"
    r"|re(?![:\-])|droite?s?|derech[oa]s?|dcha|dcho|destr[oaei]|dext(?:er|ra)?"
)
_BOTH = (
    r"bilateral(?:ly|e|es|i)?|both sides|(?:left and right|right and left)(?: sides?)?|beidseit(?:s|ig(?:e[rsn]?)?)"
    r"|bds|bd?s\.|beider seiten|des deux cotes|ambos lados|ambo i lati"
)
_SIDE = re.compile(rf"(?<![\w-])(?:(?P<both>{_BOTH})|(?P<left>{_LEFT})|(?P<right>{_RIGHT}))(?![\w])")
_REGION = r"(?:c|th|t|d|l|s|hwk?|bwk?|lwk?|swk|lumbar|thoracic|cervical|sacral)"
_LEVEL = re.compile(
    rf"(?<!\w)(?<!vitamin )(?P<region>{_REGION})(?:\.\s?|\s?-?)(?P<number>\d{{1,2}})(?![\d,.]\d|\d)"
    rf"(?:\s?(?P<to>/|-|to|bis|und|and|et|y|e|a|&|\+)\s?(?P<region2>{_REGION}(?:\.\s?|\s?-?))?(?P<number2>\d{{1,2}})"
    r"(?!\d|[\d,.]\d|\s?(?:mm|cm|x\b|/))(?![a-z]))?(?![a-z0-9])(?P<behind>\s?(?:sx|dx)\b)?"
)  # Italian "sx" and "dx" count behind a level only: in English "Dx" is a diagnosis
_RANGE = frozenset({"/", "-", "to", "bis", "a"})
_WEIGHTING = re.compile(
    r"\bt[12]\s?-?\s?(?:w\b|wi\b|weight|gewicht|pond|pesat|tse|fse|se\b|fs\b|stir|star|\*|dixon|vibe)"
)
_LETTERS = {
    "c": "C", "hw": "C", "hwk": "C", "cervical": "C",
    "t": "T", "th": "T", "d": "T", "bw": "T", "bwk": "T", "thoracic": "T",
    "l": "L", "lw": "L", "lwk": "L", "lumbar": "L",
    "s": "S", "swk": "S", "sacral": "S",
}  # fmt: skip
_SIDE_ABBREVIATION = re.compile(r"(?<!\w)(?:li|re|lt|rt|lks|bds|izq)\.$")
_ABBREVIATION = re.compile(r"(?<!\w)(?:va|v\.\s?a|z\.\s?n|susp|ca|bzw|path|resp|u|z\.\s?b|insb|st)\.$")
_GOES_ON = re.compile(r"\s*(?:[^\w\s]|(?:u\.|und|and|et|e|y|o\.|oder|or|bzw)(?!\w))")
_ALSO = re.compile(r"\s*(?:also|auch|ebenso|sowie|as well|and|und|likewise|idem|zudem|additionally)\b")
_END_OF_SENTENCE = re.compile(r"[.;!?\n\r]+(?=\s|$)|[;\n\r]|\b(?:but|aber|jedoch|mais|pero|however|dagegen)\b")


def read_text(text: str) -> tuple[str, SuspectedSide] | Unclear | None:
    """Return the level and side that a text says EMG suspects.

    Returns
    -------
    tuple, Unclear or None
        Level ("L4", or neighbours "L4-L5") and side; why nothing was taken although the text speaks of EMG; None if
        it does not.
    """
    sentences = _sentences(_plain(text[:_LONGEST_TEXT]))
    told: list[str] = []
    denied = False
    for place, sentence in enumerate(sentences):
        if not _FINDING.search(sentence):
            continue
        affirmed = _without_others(sentence)
        if not _FINDING.search(affirmed):
            denied = True
            continue
        following = sentences[place + 1] if place + 1 < len(sentences) else ""
        incomplete = not (_levels(affirmed) and _sides(affirmed))
        if (incomplete or _ALSO.match(following)) and not _FINDING.search(following):
            affirmed += " | " + _without_others(following)  # "EMG pathological. Level L4 left."
        told.append(affirmed)
    if not told:
        return Unclear(DENIED) if denied else None
    return _level_and_side(told)


def parse_level(text: str) -> str:
    """Return a level as typed by a person or a system, "l4" or "L4/5", in our writing.

    Raises
    ------
    SettingsError
        If it is none from C1 to S1.
    """
    plain = _plain(text).strip()
    match = _LEVEL.fullmatch(plain)
    level = None if match is None or match["behind"] else _join(_roots(match))
    if not isinstance(level, str):
        raise SettingsError("a level is a nerve root from C1 to S1, or two neighbours, like L4 or L4/5")
    return level


def parse_side(text: str) -> SuspectedSide:
    """Return a side as typed by a person or a system, in English or German, or the letter L, R or B.

    Raises
    ------
    SettingsError
        If it is none.
    """
    plain = _plain(text).strip().rstrip(".")
    letters: dict[str, SuspectedSide] = {"l": "left", "r": "right", "b": "both", "both": "both"}
    if plain in letters:
        return letters[plain]
    match = _SIDE.fullmatch(plain)
    if match is None:
        raise SettingsError("a side is left, right or both")
    return _side_of(match)


def _plain(text: str) -> str:
    """Return a text without case, accents and typographic dashes."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(one for one in folded if not unicodedata.combining(one))
    return re.sub(r"[‐-―−]", "-", bare)


def _sentences(text: str) -> list[str]:
    """Return the sentences of a text; a point behind an abbreviation ends none."""
    found, begin = [], 0
    for match in _END_OF_SENTENCE.finditer(text):
        if match[0] == "." and _goes_on(text[begin : match.end()], text[match.end() :]):
            continue
        found.append(text[begin : match.end()])
        begin = match.end()
    return [one for one in (*found, text[begin:]) if one.strip()]


def _goes_on(before: str, rest: str) -> bool:
    """Whether the point that ends `before` is that of an abbreviation within a sentence."""
    if _SIDE_ABBREVIATION.search(before):  # "re. L4", "li. u. re."; but "L4 li. Pain on the right"
        return not _levels(before) or bool(_GOES_ON.match(rest))
    return bool(_ABBREVIATION.search(before))


def _without_others(sentence: str) -> str:
    """Return a sentence without the clauses that deny, or are about another complaint.

    A clause that names neither finding nor complaint is about the same as the one before it; the first one about EMG.
    """
    kept: list[str] = []
    of_emg = True
    for clause in _CLAUSE.split(_without_denials(sentence)):
        if _FINDING.search(clause):
            of_emg = True
        elif _COMPLAINT.search(clause):
            of_emg = False
        if of_emg:
            kept.append(clause)
    return ",".join(kept)


def _without_denials(sentence: str) -> str:
    """Return a sentence without the clauses that deny.

    A clause that only denies ("..., not confirmed") denies the one before it as well.
    """
    kept: list[str] = []
    for clause in sentence.split(","):
        if not _DENIAL.search(clause):
            kept.append(clause)
        elif not (_FINDING.search(clause) or _levels(clause) or _sides(clause)):
            kept = kept[:-1]
    return ",".join(kept)


def _level_and_side(told: list[str]) -> tuple[str, SuspectedSide] | Unclear:
    spans: list[tuple[int, int] | None] = []
    sides: set[SuspectedSide] = set()
    for sentence in told:
        spans += _levels(sentence)
        sides |= _sides(sentence)
    if not spans:
        weighted = any(_bare_weighting(one) for one in told)
        return Unclear(WEIGHTING if weighted else NO_LEVEL)
    level = _join(spans)
    if isinstance(level, Unclear):
        return level
    if not sides:
        return Unclear(NO_SIDE)
    if len(sides) > 1:
        return Unclear(TWO_SIDES)
    return level, sides.pop()


def _levels(sentence: str) -> list[tuple[int, int] | None]:
    """Return first and last root of each level that is named, None for one that does not exist.

    A bare "T1" or "T2" is left out: in an order for an MRI it is as likely a weighting.
    """
    found = []
    for match in _LEVEL.finditer(_WEIGHTING.sub(" ", sentence)):
        if _is_bare_t(match):
            continue
        found += _roots(match)
    return found


def _bare_weighting(sentence: str) -> bool:
    return any(_is_bare_t(match) for match in _LEVEL.finditer(_WEIGHTING.sub(" ", sentence)))


def _is_bare_t(match: re.Match[str]) -> bool:
    """Whether it is "T1", "T2", "T1/T2" or the like; "Th1", "D2" and "T2/3" are vertebrae."""
    if match["region"] != "t" or match["number"] not in ("1", "2"):
        return False
    return match["number2"] is None or ((match["region2"] or "").strip(" .-") == "t" and match["number2"] in ("1", "2"))


def _roots(match: re.Match[str]) -> list[tuple[int, int] | None]:
    """Return first and last place in `ROOTS` of what a match names: one span, of "L2 and L5" two."""
    letter = _LETTERS[match["region"]]
    first = f"{letter}{int(match['number'])}"
    if match["number2"] is None:
        return [_span(first, first)]
    second = _LETTERS[match["region2"].strip(" .-")] if match["region2"] else letter
    last = f"{second}{int(match['number2'])}"
    if (first, last) == ("L5", "L1"):  # "L5/1": S1 is meant
        last = "S1"
    return [_span(first, last)] if match["to"] in _RANGE else [_span(first, first), _span(last, last)]


def _span(first: str, last: str) -> tuple[int, int] | None:
    if first not in ROOTS or last not in ROOTS:
        return None
    one, other = sorted((ROOTS.index(first), ROOTS.index(last)))
    return one, other


def _join(spans: list[tuple[int, int] | None]) -> str | Unclear:
    """Return one level for all that are named: the same, or neighbours without a gap."""
    known = [span for span in spans if span is not None]
    if len(known) < len(spans):
        return Unclear(UNKNOWN_LEVEL)
    roots = sorted({root for first, last in known for root in range(first, last + 1)})
    if roots != list(range(roots[0], roots[-1] + 1)):
        return Unclear(SEVERAL_LEVELS)
    first, last = ROOTS[roots[0]], ROOTS[roots[-1]]
    return first if first == last else f"{first}-{last}"


def _sides(sentence: str) -> set[SuspectedSide]:
    found = {_side_of(match) for match in _SIDE.finditer(sentence)}
    for match in _LEVEL.finditer(sentence):
        if match["behind"]:
            found.add("left" if match["behind"].strip() == "sx" else "right")
    return found


def _side_of(match: re.Match[str]) -> SuspectedSide:
    if match["both"]:
        return "both"
    return "left" if match["left"] else "right"
