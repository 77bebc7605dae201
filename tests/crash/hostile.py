"""Hostile inputs, each made again from its class and a seed: what to send, and ANSWER where a peer would wait for one.

After the 35 classes of the project's fuzzing harness, which tries thousands of each; here they are a quick form of it.
"""

import random
import struct
from collections.abc import Callable
from typing import Final

from node.association.conformance import STORAGE_COMMITMENT
from node.association.telling import SOP_INSTANCE
from tests.association.raw import (
    ABORT,
    COMMAND,
    CONTEXTS,
    EXPLICIT,
    LAST,
    MR,
    RELEASE_RQ,
    VERIFICATION,
    associate_rq,
    command,
    element,
    item,
    p_data,
)
from tests.crash.senders import instance, uid_of

CAREFUL = (*CONTEXTS, (9, STORAGE_COMMITMENT, EXPLICIT))
ANSWER: Final = b""  # wait for one PDU
CANARY = "hostile_canary"  # a file or a log line with it is an escape
Input = list[bytes]

_LENGTHS = (0, 1, 2, 3, 6, 0x7F, 0xFF, 0x100, 0x4000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_EVIL = (
    f"../../../../../../tmp/{CANARY}", f"/tmp/{CANARY}", "..", "", f"1.2.3\0{CANARY}", f"1.2.3\r\nERROR {CANARY}",
    "A" * 5000, "1." * 400, f"$(touch /tmp/{CANARY})", f"|touch /tmp/{CANARY}", "%s%s%n", "\x1b[31m", "' OR 1=1 --",
    f"1.2.3/../../{CANARY}", "\xff\xfe",
)  # fmt: skip
_PREFIX = instance(0)[: -8192 - 12]  # up to the element Pixel Data


def long_element(group: int, number: int, vr: bytes, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH2sHL", group, number, vr, 0, length) + value


def flipped(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 32))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def spliced(chance: random.Random, content: bytes, *, after: int = 0) -> bytes:
    at, size = chance.randrange(after, len(content)), chance.choice((1, 2, 4, 16, 64, 512))
    other = (b"", chance.randbytes(size), b"\xff" * size, content[max(0, at - size) : at] * 50)
    return content[:at] + chance.choice(other) + content[at + chance.choice((0, size)) :]


def relengthed(chance: random.Random, content: bytes, at: int, form: str = ">L") -> bytes:
    length = struct.pack(form, chance.choice(_LENGTHS) & ((1 << 8 * struct.calcsize(form)) - 1))
    return content[:at] + length + content[at + len(length) :]


def message(data_set: bytes, request: bytes = b"", *, context: int = 3, piece: int = 16000) -> Input:
    pdus = [p_data((context, COMMAND | LAST, request or command(1, sop_instance=uid_of(0))))]
    for start in range(0, len(data_set), piece):
        last = LAST if start + piece >= len(data_set) else 0
        pdus.append(p_data((context, last, data_set[start : start + piece])))
    return pdus


def associated(pdus: Input) -> Input:
    return [associate_rq(), ANSWER, *pdus, ANSWER, RELEASE_RQ, ANSWER]


def in_the_careful_lane(hostile: Input) -> Input:
    """Return the same input to an association that proposes storage commitment besides, where that can be done."""
    return [associate_rq(contexts=CAREFUL) if pdu == associate_rq() else pdu for pdu in hostile]


def action(chance: random.Random, information: bytes) -> Input:
    """Return an association with an N-ACTION of storage commitment (PS3.7 table 10.3-7)."""
    body = element(0x0003, STORAGE_COMMITMENT.encode()) + element(0x0100, b"\x30\x01") + element(0x0110, b"\1\0")
    body += element(0x0800, b"\1\0") + element(0x1001, SOP_INSTANCE.encode()) + element(0x1008, b"\1\0")
    request = element(0x0000, struct.pack("<L", len(body))) + body
    return in_the_careful_lane(
        associated(message(information, chance.choice((request, flipped(chance, request))), context=9))
    )


def references(uid: bytes, transaction: bytes) -> bytes:
    def short(number: int, value: bytes) -> bytes:
        return struct.pack("<HH2sH", 8, number, b"UI", len(value)) + value

    item_ = short(0x1150, MR.encode() + b"\0") + short(0x1155, uid)
    sequence = struct.pack("<HHL", 0xFFFE, 0xE000, len(item_)) + item_
    return short(0x1195, transaction) + long_element(8, 0x1199, b"SQ", len(sequence), sequence)


def changed_pdu(chance: random.Random, change: Callable[[bytes], bytes]) -> Input:
    pdus = message(instance(0))
    which = chance.randrange(len(pdus))
    return associated([*pdus[:which], change(pdus[which]), *pdus[which + 1 :]])


def nested(depth: int, *, closed: bool) -> bytes:
    begin = long_element(0x0040, 0xA730, b"SQ", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return begin * depth + (end * depth if closed else b"")


def many_contexts(chance: random.Random) -> bytes:
    abstracts = (MR, VERIFICATION, "", "1.2.3")
    return associate_rq(contexts=[((2 * k + 1) & 0xFF, chance.choice(abstracts), EXPLICIT) for k in range(200)])


def user_identity(chance: random.Random) -> bytes:
    name = chance.randbytes(chance.choice((0, 1, 100, 60000)))
    body = struct.pack(">BBH", chance.choice((1, 2, 3, 4, 5, 99)), 1, len(name)) + name + b"\0\0"
    return associate_rq(user_information=item(0x58, body))


def wrong_order(chance: random.Random) -> Input:
    begin, (first, *rest) = associate_rq(), message(instance(0))
    echo = p_data((1, COMMAND | LAST, command(0x30, sop_class=VERIFICATION, data_set=False)))
    return chance.choice(
        (
            [first, *rest], [RELEASE_RQ, ANSWER], [ABORT], [begin, ANSWER, begin, ANSWER], [begin, begin, begin],
            [begin, ANSWER, first, RELEASE_RQ, ANSWER], [begin, ANSWER, first, first, ANSWER],
            [begin, ANSWER, *rest, ANSWER], [begin, ANSWER, first, echo, ANSWER],
            [begin, ANSWER, RELEASE_RQ, first, *rest], [begin, ANSWER, struct.pack(">BBL", 2, 0, 4), ANSWER],
        )
    )  # fmt: skip


def fields(chance: random.Random) -> bytes:
    values = {
        0x0002: MR.encode(), 0x0100: b"\1\0", 0x0110: b"\1\0", 0x0700: b"\0\0", 0x0800: b"\1\0",
        0x1000: uid_of(0).encode(),
    }  # fmt: skip
    number = chance.choice(list(values))
    values[number] = chance.choice((b"", b"\0\0\0", chance.randbytes(2), chance.randbytes(300)))
    if chance.random() < 0.4:
        del values[number]
    body = b"".join(element(number, value) for number, value in values.items())
    return element(0, struct.pack("<L", len(body))) + body


def cut_off(chance: random.Random) -> Input:
    whole = b"".join(message(instance(0)))
    return [associate_rq(), ANSWER, whole[: chance.randrange(len(whole))], *chance.choice(([], [ABORT]))]


def data_set(change: Callable[[random.Random, bytes], bytes]) -> Callable[[random.Random], Input]:
    return lambda chance: associated(message(change(chance, _PREFIX) + instance(0)[len(_PREFIX) :]))


def _evil(chance: random.Random) -> bytes:
    return chance.choice(_EVIL).encode("latin-1")


def _with_evil(tag: tuple[int, int], vr: bytes) -> Callable[[random.Random, bytes], bytes]:
    def change(chance: random.Random, prefix: bytes) -> bytes:
        value = _evil(chance)
        at = prefix.index(struct.pack("<HH2s", *tag, vr))
        (length,) = struct.unpack_from("<H", prefix, at + 6)
        return prefix[: at + 6] + struct.pack("<H", len(value)) + value + prefix[at + 8 + length :]

    return change


CLASSES: dict[str, Callable[[random.Random], Input]] = {
    # PS3.8: the association
    "request, bits flipped": lambda c: [flipped(c, associate_rq()), ANSWER],
    "request, spliced": lambda c: [spliced(c, associate_rq(), after=6), ANSWER],
    "request, another length": lambda c: [relengthed(c, associate_rq(), 2), ANSWER],
    "request, another item length": lambda c: [relengthed(c, associate_rq(), c.choice((76, 101, 107)), ">H"), ANSWER],
    "request, 200 contexts": lambda c: [many_contexts(c), ANSWER, RELEASE_RQ],
    "request, evil titles": lambda c: [associate_rq(calling=c.choice(_EVIL)[:16].replace("\xff", "")), ANSWER],
    "request, user identity": lambda c: [user_identity(c), ANSWER],
    "request, no context": lambda _: [associate_rq(contexts=()), ANSWER, *message(instance(0)), ANSWER],
    "request, byte by byte": lambda _: [bytes((one,)) for one in associate_rq()] + [ANSWER],
    "another protocol": lambda c: [c.choice((b"GET / HTTP/1.1\r\n\r\n", b"\x16\3\1\2\0\1", b"\0" * 4096)), ANSWER],
    # PS3.8: PDUs and PDVs
    "a huge PDU": lambda c: [
        associate_rq(),
        ANSWER,
        struct.pack(">BBL", 4, 0, c.choice(_LENGTHS[-5:])),
        b"A" * 200_000,
    ],
    "an unknown PDU": lambda c: [associate_rq(), ANSWER, struct.pack(">BBL", c.choice((0, 8, 9, 255)), 0, 9), b"A" * 9],
    "the wrong order": wrong_order,
    "PDV, another length": lambda c: changed_pdu(c, lambda pdu: relengthed(c, pdu, 6)),
    "PDV, another context": lambda c: associated(message(instance(0), context=c.choice((0, 1, 2, 9, 255)))),
    "PDV, another header": lambda c: changed_pdu(
        c, lambda pdu: pdu[:11] + c.choice((b"\0", b"\1", b"\xff")) + pdu[12:]
    ),
    "PDV, tiny fragments": lambda c: associated(message(instance(0), piece=c.choice((1, 2, 7)))),
    "PDV, empty fragments": lambda _: associated([*message(instance(0))[:-1], *[p_data((3, 0, b""))] * 500]),
    "PDU, bits flipped": lambda c: changed_pdu(c, lambda pdu: flipped(c, pdu)),
    "cut off": cut_off,
    # PS3.7: the command
    "command, bits flipped": lambda c: associated(message(instance(0), flipped(c, command(1, sop_instance=uid_of(0))))),
    "command, spliced": lambda c: associated(message(instance(0), spliced(c, command(1, sop_instance=uid_of(0))))),
    "command, fields": lambda c: associated(message(instance(0), fields(c))),
    "command, another service": lambda c: associated(
        message(instance(0), command(c.choice((0x20, 0x21, 0x130, 0x8001))))
    ),
    "command, evil UID": lambda c: associated(
        message(instance(0), element(0x0100, b"\1\0") + element(0x0800, b"\1\0") + element(0x1000, _evil(c)))
    ),
    "command, too long": lambda _: [associate_rq(), ANSWER, *[p_data((3, COMMAND, b"A" * 16000))] * 8, ANSWER],
    # PS3.4 annex J: storage commitment
    "commitment, evil UIDs": lambda c: action(c, references(_evil(c)[:60000], _evil(c)[:60000])),
    "commitment, bits flipped": lambda c: action(c, flipped(c, references(b"2.25.1", b"2.25.7001"))),
    "commitment, spliced": lambda c: action(c, spliced(c, references(b"2.25.1", b"2.25.7002"))),
    "commitment, nested": lambda c: action(c, nested(c.choice((64, 20000)), closed=c.random() < 0.5)),
    "commitment, without end": lambda c: [
        *(pdu for pdu in action(c, references(b"2.25.1", b"2.25.7003"))[:3]),
        *[p_data((9, 0, b"A" * 16000))] * 400,
    ],
    "commitment, an answer to no report": lambda _: [
        associate_rq(contexts=CAREFUL),
        ANSWER,
        p_data((9, COMMAND | LAST, command(0x8100, data_set=False))),
        ANSWER,
    ],
    # PS3.5: the data set
    "data set, bits flipped": data_set(flipped),
    "data set, spliced": data_set(spliced),
    "data set, cut short": lambda c: associated(message(instance(0)[: c.randrange(1, len(_PREFIX))])),
    "data set, another length": data_set(
        lambda c, prefix: relengthed(c, prefix, c.randrange(0, len(prefix) - 4), "<L")
    ),
    "data set, a huge element": data_set(lambda c, prefix: prefix[:60] + long_element(9, 0x1001, b"OB", 0xFFFFFFF0)),
    "data set, undefined length": data_set(lambda c, prefix: prefix[:60] + long_element(9, 16, b"UN", 0xFFFFFFFF)),
    "data set, nested": data_set(
        lambda c, prefix: prefix + nested(c.choice((64, 1000, 20000)), closed=c.random() < 0.5)
    ),
    "data set, nested before its UID": data_set(lambda c, prefix: nested(20000, closed=c.random() < 0.5) + prefix),
    "data set, evil study": data_set(_with_evil((0x0020, 0x000D), b"UI")),
    "data set, evil patient": data_set(_with_evil((0x0010, 0x0020), b"LO")),
    "data set, a preamble": lambda _: associated(message(b"MZ" + bytes(126) + b"DICM" + instance(0))),
    "data set, another UID": lambda _: associated(message(instance(1))),
}
