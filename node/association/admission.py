"""Admission: who may associate, from where, and how often at a time. Nothing here opens a socket or reads one.

Default deny: without a `[[peer]]` entry nobody is admitted. Titles prove nothing by themselves, so an entry always
names networks too, and with TLS it can name the subject of the certificate.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Lock

from node.association.tls import is_subject
from node.errors import SettingsError
from node.settings import AssociationSettings, PeerSettings

_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291 section 2.5.5.2: how IPv4 peers look to a socket bound to ::


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a peer once its A-ASSOCIATE-RQ is read; `tls_subject` as of `node.association.tls`."""

    called_ae: str
    calling_ae: str
    address: str
    tls_subject: str | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """The fields of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and why in words that may be logged."""

    result: int
    source: int
    reason: int
    why: str


WRONG_PROTOCOL_VERSION = Rejection(1, 2, 2, "protocol version is not 1")
WRONG_APPLICATION_CONTEXT = Rejection(1, 1, 2, "application context name is not DICOM's")
WRONG_CALLED_AE = Rejection(1, 1, 7, "called AE title is not ours")
UNKNOWN_CALLING_AE = Rejection(1, 1, 3, "no [[peer]] has this calling AE title")
WRONG_ADDRESS = Rejection(1, 1, 3, "no [[peer]] of this calling AE title has this address")
WRONG_SUBJECT = Rejection(1, 1, 3, "no [[peer]] of this calling AE title and address has this certificate")
PEER_AT_LIMIT = Rejection(2, 3, 2, "max_associations of this [[peer]] reached")
NODE_AT_LIMIT = Rejection(2, 3, 2, "max_associations of the node reached, or the rest is reserved")

_TOLD_FOR_S = 3600.0  # chosen
_MOST_TOLD = 100  # chosen: as many lines in an hour may a scan of many addresses make


class Admission:
    """Decides about callers, and counts those it admitted; safe to call from many threads.

    Raises
    ------
    SettingsError
        If more slots are reserved than there are.
    """

    def __init__(self, association: AssociationSettings, peers: Sequence[PeerSettings]) -> None:
        reserved = sum(peer.reserved for peer in peers)
        if reserved > association.max_associations:
            raise SettingsError(
                f"[[peer]] reserved: {reserved} slots in all, but [association] max_associations is only "
                f"{association.max_associations}"
            )
        self._association = association
        # Of several entries that fit, the first one counts, and one that names the title before one that takes any.
        self._entries = [_Entry(peer) for peer in sorted(peers, key=lambda peer: peer.ae_title == "*")]
        self._lock = Lock()
        self._active = 0

    def address_allowed(self, address: str) -> bool:
        """Return whether any entry has this address: if none has, no word of this peer needs to be read."""
        return any(entry.has_address(address) for entry in self._entries)

    def admit(self, caller: Caller) -> "Admitted | Rejection":
        """Return the slot that the caller holds until `Admitted.leave`, or why it gets none."""
        if self._association.require_called_ae and not _same_title(caller.called_ae, self._association.ae_title):
            return WRONG_CALLED_AE
        entry = self._entry_of(caller)
        if isinstance(entry, Rejection):
            return entry
        key = (_title(caller.calling_ae), str(parse_address(caller.address)))
        with self._lock:
            if entry.by_caller[key] >= entry.peer.max_associations:
                return PEER_AT_LIMIT
            # Slots held and unused reserves never exceed the total, so who has a reserve left always finds room here.
            kept_for_others = sum(other.unused_reserve for other in self._entries if other is not entry)
            if self._active + kept_for_others >= self._association.max_associations:
                return NODE_AT_LIMIT
            entry.by_caller[key] += 1
            self._active += 1
        return Admitted(self, entry, key)

    def _entry_of(self, caller: Caller) -> "_Entry | Rejection":
        titled = [one for one in self._entries if one.has_title(caller.calling_ae)]
        if not titled:
            return UNKNOWN_CALLING_AE
        placed = [one for one in titled if one.has_address(caller.address)]
        if not placed:
            return WRONG_ADDRESS
        return next((one for one in placed if one.has_subject(caller.tls_subject)), WRONG_SUBJECT)

    def _release(self, entry: "_Entry", key: tuple[str, str]) -> None:
        with self._lock:
            entry.by_caller[key] -= 1
            if not entry.by_caller[key]:
                del entry.by_caller[key]  # or every address that ever called would be remembered
            self._active -= 1


class Admitted:
    """A slot that an association holds; a context manager that gives it back."""

    def __init__(self, admission: Admission, entry: "_Entry", key: tuple[str, str]) -> None:
        self.peer = entry.peer
        self._held = [(admission, entry, key)]

    def leave(self) -> None:
        """Give the slot back; a second call does nothing."""
        try:
            admission, entry, key = self._held.pop()  # atomic: of two threads that leave, one finds it empty
        except IndexError:
            return
        admission._release(entry, key)

    def __enter__(self) -> "Admitted":
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class RecentlyTold:
    """Of which addresses the log has told within the hour; of a hundred at most. For one thread."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until: dict[str, float] = {}  # oldest first

    def is_news(self, address: str) -> bool:
        """Return whether to tell of it now; it then counts as told."""
        now = self._monotonic()
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
        if address in self._until or len(self._until) >= _MOST_TOLD:
            return False
        self._until[address] = now + _TOLD_FOR_S
        return True


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Return an address; IPv4-mapped IPv6 (::ffff:10.0.0.1) is the IPv4 address it stands for.

    Raises
    ------
    ValueError
        If `text` is no IP address.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@dataclass(slots=True, eq=False)  # two entries may read alike, and are two
class _Entry:
    """One `[[peer]]` and who holds its slots, counted by calling AE title and address."""

    peer: PeerSettings
    by_caller: Counter[tuple[str, str]] = field(default_factory=Counter)
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def __post_init__(self) -> None:
        self.networks = tuple(_unmapped(network) for network in self.peer.addresses)

    @property
    def unused_reserve(self) -> int:
        return max(0, self.peer.reserved - self.by_caller.total())

    def has_title(self, calling_ae: str) -> bool:
        return self.peer.ae_title == "*" or _same_title(self.peer.ae_title, calling_ae)

    def has_address(self, text: str) -> bool:
        try:
            address = parse_address(text)
        except ValueError:
            return False
        return any(address in network for network in self.networks)

    def has_subject(self, subject: str | None) -> bool:
        return not self.peer.tls_subject or (subject is not None and is_subject(subject, self.peer.tls_subject))


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - _MAPPED.prefixlen))
    return network


def _title(text: str) -> str:
    return text.strip(" ")  # PS3.8 table 9-11: leading and trailing spaces are not significant


def _same_title(one: str, other: str) -> bool:
    return _title(one) == _title(other)
