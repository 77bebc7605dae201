"""Who is admitted: against an oracle that knows nothing of how it is decided, and under many threads."""

import random
import threading
import time
from ipaddress import ip_address, ip_network

import pytest

from node.association.admission import (
    NODE_AT_LIMIT,
    PEER_AT_LIMIT,
    UNKNOWN_CALLING_AE,
    WRONG_ADDRESS,
    WRONG_CALLED_AE,
    WRONG_SUBJECT,
    Admission,
    Admitted,
    Caller,
    RecentlyTold,
    Rejection,
)
from node.association.tls import is_subject, subject_text
from node.errors import SettingsError
from node.settings import AssociationSettings, PeerSettings

OURS = "PARASPINAL"


def peer(title: str = "*", *addresses: str, subject: str = "", most: int = 16, reserved: int = 0) -> PeerSettings:
    return PeerSettings.model_validate(
        {
            "ae_title": title,
            "addresses": addresses or ("0.0.0.0/0", "::/0"),
            "tls_subject": subject,
            "max_associations": most,
            "reserved": reserved,
        }
    )


def admission(*peers: PeerSettings, most: int = 64, require: bool = True) -> Admission:
    return Admission(AssociationSettings(max_associations=most, require_called_ae=require), peers)


def call(calling: str = "MR1", address: str = "10.0.0.1", called: str = OURS, subject: str | None = None) -> Caller:
    return Caller(called, calling, address, subject)


def codes(answer: Admitted | Rejection) -> tuple[int, int, int] | str:
    return (answer.result, answer.source, answer.reason) if isinstance(answer, Rejection) else "admitted"


def expected(peers: list[PeerSettings], require: bool, caller: Caller) -> tuple[int, int, int] | str:
    """Decide by the words of the settings alone, in strings and integers."""
    if require and caller.called_ae.strip() != OURS:
        return 1, 1, 7
    text = caller.address.removeprefix("::ffff:")
    for one in peers:
        title = one.ae_title in ("*", caller.calling_ae.strip())
        place = False
        for network in one.addresses:
            base, bits = str(network).split("/")
            whole = 32 if "." in base else 128
            if ("." in base) == ("." in text):
                shift = whole - int(bits)
                place = place or int(ip_address(base)) >> shift == int(ip_address(text)) >> shift
        certificate = not one.tls_subject or (
            caller.tls_subject is not None
            and one.tls_subject in (caller.tls_subject, caller.tls_subject.split(",")[0].removeprefix("CN="))
        )
        if title and place and certificate:
            return "admitted"
    return 1, 1, 3


def test_two_thousand_random_combinations_are_decided_as_the_settings_say() -> None:
    dice = random.Random(20261126)
    networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.168.0.0/24", "fd00::/8", "fd00::5/128", "0.0.0.0/0"]
    addresses = ["10.1.2.3", "10.1.2.4", "10.9.9.9", "192.168.0.7", "::ffff:10.1.2.3", "fd00::5", "fd01::1", "8.8.8.8"]
    subjects = ["", "", "mr1", "CN=mr1,O=Hospital", "ct1"]
    shown = [None, "CN=mr1,O=Hospital", "CN=mr1,O=Elsewhere", "CN=ct1,O=Hospital", "CN=x,O=Hospital"]
    outcomes = set()
    for _ in range(2000):
        peers = [
            peer(dice.choice(["*", "MR1", "CT1"]), *dice.sample(networks, 2), subject=dice.choice(subjects))
            for _ in range(dice.randrange(4))
        ]
        require = dice.random() < 0.7
        caller = Caller(
            dice.choice([OURS, f" {OURS}  ", "paraspinal", "OTHER"]),
            dice.choice(["MR1", "MR1 ", " CT1", "mr1", "US1"]),
            dice.choice(addresses),
            dice.choice(shown),
        )

        answer = codes(admission(*peers, require=require).admit(caller))

        assert answer == expected(peers, require, caller), (peers, require, caller)
        outcomes.add(answer)
    assert outcomes == {"admitted", (1, 1, 3), (1, 1, 7)}


def test_nobody_is_admitted_without_an_entry() -> None:
    nobody = admission()

    assert nobody.admit(call()) == UNKNOWN_CALLING_AE
    assert not nobody.address_allowed("127.0.0.1")


def test_a_rejection_says_what_did_not_fit() -> None:
    gate = admission(peer("MR1", "10.0.0.0/8", subject="mr1"))

    assert gate.admit(call(called="OTHER")) == WRONG_CALLED_AE
    assert gate.admit(call("CT1")) == UNKNOWN_CALLING_AE
    assert gate.admit(call(address="11.0.0.1")) == WRONG_ADDRESS
    assert gate.admit(call(subject=None)) == WRONG_SUBJECT


def test_an_entry_that_names_the_title_counts_before_one_for_all_titles() -> None:
    answer = admission(peer("*", most=1), peer("MR1", most=2)).admit(call())

    assert isinstance(answer, Admitted)
    assert answer.peer.ae_title == "MR1"


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1"])
@pytest.mark.parametrize("network", ["10.0.0.0/8", "::ffff:10.0.0.0/104"])
def test_an_ipv4_address_is_itself_however_it_is_written(address: str, network: str) -> None:
    gate = admission(peer("*", network))

    assert gate.address_allowed(address)
    assert not gate.address_allowed("::ffff:11.0.0.1")
    assert not gate.address_allowed("not an address")


def test_the_ipv4_compatible_tail_of_another_ipv6_address_is_not_taken_for_ipv4() -> None:
    assert ip_address("fd00::a00:1") not in ip_network("10.0.0.0/8")
    assert not admission(peer("*", "10.0.0.0/8")).address_allowed("fd00::a00:1")


def test_a_limit_of_a_peer_counts_title_and_address_together() -> None:
    gate = admission(peer("*", most=1))

    assert isinstance(gate.admit(call("MR1", "10.0.0.1")), Admitted)
    assert isinstance(gate.admit(call("MR2", "10.0.0.1")), Admitted)
    assert isinstance(gate.admit(call("MR1", "10.0.0.2")), Admitted)
    assert gate.admit(call(" MR1", "::ffff:10.0.0.1")) == PEER_AT_LIMIT


def test_reserved_slots_are_left_for_whom_they_are_reserved() -> None:
    gate = admission(peer("MR1", reserved=2), peer("*", most=9), most=4)

    strangers = [gate.admit(call("US1")) for _ in range(3)]
    known = [gate.admit(call("MR1")) for _ in range(3)]

    assert [codes(one) for one in strangers] == ["admitted", "admitted", (2, 3, 2)]
    assert [codes(one) for one in known] == ["admitted", "admitted", (2, 3, 2)]


def test_a_peer_with_a_reserve_may_use_common_slots_too() -> None:
    gate = admission(peer("MR1", reserved=1), peer("CT1", reserved=1), most=4)

    assert [codes(gate.admit(call("MR1"))) for _ in range(4)] == ["admitted"] * 3 + [(2, 3, 2)]
    assert isinstance(gate.admit(call("CT1")), Admitted)
    assert gate.admit(call("CT1")) == NODE_AT_LIMIT


def test_random_comings_and_goings_keep_every_limit_and_every_reserve() -> None:
    dice = random.Random(7)
    peers = [peer("MR1", reserved=3, most=4), peer("MR2", reserved=2, most=3), peer("*", most=5)]
    gate, held, refused = admission(*peers, most=10), [], 0
    for _ in range(3000):
        title = dice.choice(["MR1", "MR2", "US1", "US2"])
        of = {name: sum(t == name for t, _ in held) for name in ("MR1", "MR2", "US1", "US2")}
        unused = {"MR1": max(0, 3 - of["MR1"]), "MR2": max(0, 2 - of["MR2"])}
        kept = sum(count for name, count in unused.items() if name != title)
        wanted = of[title] < {"MR1": 4, "MR2": 3}.get(title, 5) and (unused.get(title, 0) > 0 or len(held) + kept < 10)

        answer = gate.admit(call(title))

        assert isinstance(answer, Admitted) == wanted
        if isinstance(answer, Admitted):
            held.append((title, answer))
        refused += not wanted
        if held and dice.random() < 0.5:
            held.pop(dice.randrange(len(held)))[1].leave()
    assert 300 < refused < 2700


def test_more_reserved_than_there_is_is_refused_as_a_setting() -> None:
    with pytest.raises(SettingsError, match=r"5 slots in all.*only 4"):
        admission(peer("MR1", reserved=3), peer("MR2", reserved=2), most=4)


def test_a_slot_is_given_back_once_however_often_one_leaves() -> None:
    gate = admission(peer(), most=2)
    first, second = gate.admit(call()), gate.admit(call())
    assert isinstance(first, Admitted)
    assert isinstance(second, Admitted)

    first.leave()
    with first:
        pass

    assert isinstance(gate.admit(call()), Admitted)
    assert gate.admit(call()) == NODE_AT_LIMIT


def test_many_threads_never_hold_more_than_the_limit_and_leave_nothing_behind() -> None:
    gate = admission(peer("MR1", most=8, reserved=3), peer("*", most=8), most=8)
    held, most, lock = 0, 0, threading.Lock()

    def come_and_go(title: str) -> None:
        nonlocal held, most
        for _ in range(1500):
            answer = gate.admit(call(title))
            if isinstance(answer, Admitted):
                with lock:
                    held += 1
                    most = max(most, held)
                time.sleep(0)  # now others may try
                with lock:
                    held -= 1
                answer.leave()

    threads = [threading.Thread(target=come_and_go, args=(f"MR{n % 3}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 8
    assert [codes(gate.admit(call("MR1"))) for _ in range(9)] == ["admitted"] * 8 + [(2, 3, 2)]


def test_of_an_address_is_told_once_an_hour_and_of_a_hundred_at_most() -> None:
    now = [0.0]
    told = RecentlyTold(monotonic=lambda: now[0])

    assert [told.is_news(one) for one in ("10.0.0.1", "10.0.0.1", "10.0.0.2")] == [True, False, True]
    now[0] = 1800.0
    assert sum(told.is_news(f"10.0.1.{n}") for n in range(200)) == 98
    now[0] = 3600.0
    assert [told.is_news(one) for one in ("10.0.0.1", "10.0.1.0", "10.0.1.199", "10.0.2.1")] == [
        True, False, True, False,
    ]  # fmt: skip


def test_a_common_name_that_spells_another_subject_is_not_that_subject() -> None:
    forged = subject_text(((("organizationName", "Evil"),), (("commonName", "mr1,O=Hospital"),)))

    assert not is_subject(forged, "CN=mr1,O=Hospital")
    assert not is_subject(forged, "mr1")
    assert not is_subject(subject_text(((("organizationName", "x,CN=mr1"),),)), "mr1")
    assert is_subject(subject_text(((("organizationName", "a, b"),), (("commonName", "mr 1"),))), "mr 1")
    assert is_subject("CN=mr1,O=Hospital", "CN=mr1,O=Hospital")
    assert "\n" not in subject_text(((("commonName", "mr1\nA100"),),))
