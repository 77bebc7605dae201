"""Verdicts: what the gates found, gathered step by step into the findings."""

from dataclasses import dataclass

from node.findings import Gate, Note


@dataclass(frozen=True, slots=True)
class Verdict:
    """Gates, caveats and refusals of one step, or of all so far; verdicts add up with `+`."""

    gates: tuple[Gate, ...] = ()
    caveats: tuple[Note, ...] = ()
    refusals: tuple[Note, ...] = ()

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(self.gates + other.gates, self.caveats + other.caveats, self.refusals + other.refusals)

    @property
    def refused(self) -> bool:
        return bool(self.refusals)


def gate(code: str, found: float | str, wanted: str, passed: bool, *, refusal: str = "", caveat: str = "") -> Verdict:
    """Return the verdict of one gate; `refusal` or `caveat` is what the reader is told if it did not pass."""
    if isinstance(found, float):
        found = round(found, 3)
    return Verdict(
        gates=(Gate(code, found, wanted, passed),),
        caveats=(Note(code, caveat),) if caveat and not passed else (),
        refusals=(Note(code, refusal),) if refusal and not passed else (),
    )
