"""What is read out of an order's words, and what is not."""

import pytest

from node.emg import Unclear, parse_level, parse_side, read_text
from node.emg.language import DENIED, NO_LEVEL, NO_SIDE, SEVERAL_LEVELS, TWO_SIDES, UNKNOWN_LEVEL, WEIGHTING
from node.errors import SettingsError

TAKEN = [
    ("left L4 posterior ramus denervation", "L4", "left"),
    ("EMG: denervation L4 left", "L4", "left"),
    ("Denervation of the left L4/5 posterior rami on needle exam", "L4-L5", "left"),
    ("Suspected denervation, L5/S1, right", "L5-S1", "right"),
    ("EMG with fibrillations in right paraspinals T11", "T11", "right"),
    ("EMG pathological. Level L4 left.", "L4", "left"),
    ("Needle EMG: fibrillation potentials and positive sharp waves, Rt L3-L4.", "L3-L4", "right"),
    ("bilateral denervation at L5 (EMG)", "L5", "both"),
    ("EMG: spontaneous activity L2, L3 and L4 on the left", "L2-L4", "left"),
    ("No denervation at L3 left, denervation L5 left", "L5", "left"),
    ("normal EMG of the arms. Denervation T12/L1 left.", "T12-L1", "left"),
    ("R/O metastasis; EMG shows denervation left L4", "L4", "left"),
    ("MRI LSPINE T1 T2 STIR. EMG denervation left L3", "L3", "left"),
    ("EMG denervation D11 lt", "T11", "left"),
    ("EMG: denervation L4/L5/S1 left", "L4-S1", "left"),
    ("left-handed patient, EMG: denervation right L2", "L2", "right"),
    ("EMG: Denervierung L4 li.", "L4", "left"),
    ("V.a. Denervation Th10 re.", "T10", "right"),
    ("Z. n. OP L5/S1 rechts. EMG: Denervierung des Ramus dorsalis L4 links", "L4", "left"),
    ("EMG: Denervierung re. L4/5, V.a. Metastase", "L4-L5", "right"),
    ("Pathologische Spontanaktivität paraspinal L3 rechts", "L3", "right"),
    ("Elektromyographie: Fibrillationen BWK 11 linksseitig", "T11", "left"),
    ("EMG: Denervation L4 bds.", "L4", "both"),
    ("EMG: Denervierung L4 li. u. L5 li.", "L4-L5", "left"),
    ("EMG: keine Denervierung rechts, Denervierung L4 links", "L4", "left"),
    ("EMG: Denervierung L4 li. Schmerzen rechts", "L4", "left"),
    ("EMG : dénervation L4 gauche", "L4", "left"),
    ("Électromyogramme: activité spontanée, rameau postérieur T11 droit", "T11", "right"),
    ("EMG: denervación L5 izquierda", "L5", "left"),
    ("Electromiografía: fibrilaciones en L4 derecho", "L4", "right"),
    ("EMG: denervazione L4 dx", "L4", "right"),
    ("Elettromiografia: fibrillazioni L3 sinistra", "L3", "left"),
    ("EMG：denervation Ｌ４ left", "L4", "left"),
    ("EMG: denervation L4–L5 left", "L4-L5", "left"),
    ("EMG: denervation L5-L4 left", "L4-L5", "left"),
    ("EMG: denervation C8 right", "C8", "right"),
    ("EMG: denervation L5/1 right", "L5-S1", "right"),
    ("Pain L5 left, EMG denervation L4 left", "L4", "left"),
    ("Back pain L5 right with EMG denervation L4 left", "L4", "left"),
    ("EMG: denervation L4 left and pain L5 right", "L4", "left"),
    ("EMG pathological. Level L4 left, pain right.", "L4", "left"),
    ("EMG: denervation. Radiculopathy L4 left", "L4", "left"),
    ("EMG: Denervierung. Wurzelläsion L4 links", "L4", "left"),
]
UNTAKEN = [
    ("EMG: no denervation L4 left", DENIED),
    ("Kein Hinweis auf Denervierung L4 links im EMG", DENIED),
    ("EMG L4 links unauffällig", DENIED),
    ("EMG normal left L4", DENIED),
    ("Denervation L4 left, not confirmed", DENIED),
    ("pas de dénervation L4 gauche", DENIED),
    ("EMG: sin denervación L4 izquierda", DENIED),
    ("Z.n. Denervierung L4 links", DENIED),
    ("denervation L4 left, resolved", DENIED),
    ("EMG pending. Pain L4 left", DENIED),
    ("EMG steht aus, Schmerzen L4 links", DENIED),
    ("EMG denervation L4 left, L5 right", TWO_SIDES),
    ("EMG: Denervierung L4 li. > re.", TWO_SIDES),
    ("EMG: Denervierung L4 li. und re.", TWO_SIDES),
    ("Denervation L4 left. Also right.", TWO_SIDES),
    ("EMG denervation L4 left and denervation L4 bilateral", TWO_SIDES),
    ("EMG denervation L4", NO_SIDE),
    ("EMG denervation L4, Dx: metastasis", NO_SIDE),
    ("EMG denervation, Dx: metastasis, L4", NO_LEVEL),
    ("EMG: denervation. Pain L4 left", NO_LEVEL),
    ("EMG: denervation. Pain in the leg. L4 left", NO_LEVEL),
    ("EMG: denervation, pain L4 left", NO_LEVEL),
    ("EMG: denervation and pain at L4 left", NO_LEVEL),
    ("EMG pathologisch. Rückenschmerzen L4 links", NO_LEVEL),
    ("EMG: Denervierung. Taubheit L5 re.", NO_LEVEL),
    ("EMG: Denervierung. V.a. Metastase L4 links", NO_LEVEL),
    ("EMG: Denervierung. Z.n. OP L5/S1 rechts", NO_LEVEL),
    ("EMG : dénervation. Douleur L4 gauche", NO_LEVEL),
    ("EMG: denervación. Dolor L4 izquierdo", NO_LEVEL),
    ("EMG: denervazione. Dolore L4 dx", NO_LEVEL),
    ("EMG: denervation left, pain at L4", NO_LEVEL),
    ("EMG: denervation L4, pain on the left", NO_SIDE),
    ("EMG denervation left", NO_LEVEL),
    ("EMG denervation left, vitamin D3 low", NO_LEVEL),
    ("EMG denervation left, MRI T1 and T2", WEIGHTING),
    ("EMG denervation left, T1w and T2-weighted", NO_LEVEL),
    ("EMG denervation L2 and L5 left", SEVERAL_LEVELS),
    ("EMG denervation L7 left", UNKNOWN_LEVEL),
    ("EMG denervation S2 left", UNKNOWN_LEVEL),
]
SILENT = [
    "",
    "MRI lumbar spine L4 left",
    "atrial fibrillation, pain L4 left",
    "LWS nativ und KM, V.a. Radikulopathie L5 rechts",
    "left L4 radiculopathy; follow-up",
]


@pytest.mark.parametrize(("text", "level", "side"), TAKEN)
def test_level_and_side_are_read(text: str, level: str, side: str) -> None:
    assert read_text(text) == (level, side)


@pytest.mark.parametrize(("text", "reason"), UNTAKEN)
def test_what_is_denied_or_ambiguous_is_not_taken_and_the_reason_is_kept(text: str, reason: str) -> None:
    assert read_text(text) == Unclear(reason)


@pytest.mark.parametrize("text", SILENT)
def test_what_does_not_speak_of_emg_says_nothing(text: str) -> None:
    assert read_text(text) is None


def test_a_text_of_any_length_is_read_in_little_time() -> None:
    assert read_text("EMG L4 " * 100_000 + "left") == Unclear(NO_SIDE)
    assert read_text("," * 200_000) is None


@pytest.mark.parametrize(
    ("text", "level"),
    [("L4", "L4"), (" l5/s1 ", "L5-S1"), ("Th11", "T11"), ("T1", "T1"), ("LWK 4", "L4"), ("D12-L1", "T12-L1")],
)
def test_a_level_is_taken_as_people_type_it(text: str, level: str) -> None:
    assert parse_level(text) == level


@pytest.mark.parametrize("text", ["", "L6", "S2", "4", "L4 left", "L4,L5", "T13", "L4 dx"])
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="C1 to S1"):
        parse_level(text)


@pytest.mark.parametrize(
    ("text", "side"),
    [("left", "left"), ("L", "left"), ("re.", "right"), ("Rechts", "right"), ("B", "both"), ("beidseits", "both")],
)
def test_a_side_is_taken_as_people_type_it(text: str, side: str) -> None:
    assert parse_side(text) == side


@pytest.mark.parametrize("text", ["", "x", "left right", "middle"])
def test_what_is_no_side_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="side"):
        parse_side(text)
