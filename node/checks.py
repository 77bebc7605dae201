"""What can be known before a start: settings, plug-ins, data folder, database, port, destinations."""

import errno
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from node import locks, plugins
from node.association.admission import Admission
from node.association.tls import ServerTls
from node.calling import Caller
from node.completion import read_table
from node.console import Console
from node.delivery import NothingTakenError, echo, probe
from node.errors import DeliveryError, NodeError, RefusedError, RetrievalError, SettingsError, StatementError
from node.ports import Reachable
from node.process import DATABASE, RECEIVER_LOCK, RECEIVER_PORT, is_full, open_data_dir
from node.records import ResultRole
from node.retrieval import Archive, loopback
from node.settings import ArchiveSettings, DestinationSettings, Settings
from node.worker import destinations, queried

_SHOWN_BY = {  # what a reader of a report misses without an object; the others are the report in another form
    ResultRole.SEG: "outlines of muscles and lesions",
    ResultRole.MAP: "the map of the enhancement",
    ResultRole.KEY_IMAGES: "the pictures",
}


class Verdict(StrEnum):
    """What a check comes to."""

    OK = "ok"
    WARNING = "warning"  # a start succeeds; but as things are, something waits, or is not done
    FAULT = "fault"  # a start would fail, or what the settings want can never be


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    found: str
    verdict: Verdict = Verdict.OK


def run_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks in the order in which a start would meet them.

    A destination or archive that does not answer is no fault, but a warning: what is for it waits.
    """
    yield _attempt("SQLite", _sqlite)
    yield _attempt("data folder", lambda: _data_dir(settings))
    yield _attempt("ledger", lambda: _ledger(settings))
    yield _attempt("segmenter", lambda: plugins.load("segmenters", settings.analysis.segmenter)().version)
    yield _attempt("detector", lambda: plugins.load("detectors", settings.analysis.detector)().version)
    yield _attempt("labeller", lambda: plugins.load("labellers", settings.analysis.labeller)().version)
    yield _attempt("commands", lambda: plugins.check_times(settings))
    yield _attempt("rules", lambda: read_table(settings.completion.roles).name)
    yield _attempt("trigger", lambda: plugins.load("triggers", settings.completion.trigger).__name__)
    if (drops := settings.emg.folder) is not None:
        yield _attempt("drop folder", lambda: _drop_folder(drops))
    yield _attempt("destinations", lambda: ", ".join(destinations(settings)) or "none: results stay here")
    yield _attempt("peers", lambda: _peers(settings))
    yield _attempt("TLS", lambda: _tls(settings))
    yield _attempt("port", lambda: _port(settings))
    for one in settings.destination:
        if one.kind == "dicom":
            yield (answered := _attempt(f"C-ECHO {one.name}", partial(_echo, settings, one)))
            if answered.verdict is Verdict.OK:
                yield _attempt(f"objects for {one.name}", partial(probe, one, Caller.of(settings, silence_s=5.0)))
            if one.commitment:
                yield _attempt(f"commitment of {one.name}", partial(_heard, settings, one))
        else:
            yield _attempt(f"{one.kind} {one.name}", partial(_reach, settings, one))
        if missed := _missed(settings, one):
            yield Check(f"references at {one.name}", missed)
        if one.verify:
            look = partial(_echo_archive, settings, queried(one), otherwise="deliveries will wait")
            yield _attempt(f"C-ECHO query {one.name}", look)
    for each in settings.archive:
        yield _attempt(f"C-ECHO archive {each.name}", partial(_echo_archive, settings, each))
        if each.pull:
            yield _attempt(f"pull from {each.name}", partial(_way_in, settings, each))


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, look())
    except (DeliveryError, RetrievalError, StatementError) as error:
        return Check(name, str(error), Verdict.WARNING)
    except NodeError as error:
        return Check(name, str(error), Verdict.FAULT)
    except OSError as error:
        return Check(name, error.strerror or type(error).__name__, Verdict.FAULT)


def _sqlite() -> str:
    if sqlite3.sqlite_version_info < (3, 35):
        raise SettingsError(f"{sqlite3.sqlite_version}; wanted: 3.35 or newer")  # UPDATE .. RETURNING
    return sqlite3.sqlite_version


def _drop_folder(folder: Path) -> str:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or not folder.is_dir():
        raise StatementError(
            f"{folder} is no folder in which the node may read, move and remove files: nothing is taken"
        )
    return f"{folder} is readable and writable"


def _data_dir(settings: Settings) -> str:
    data_dir = open_data_dir(settings)
    found = f"{data_dir}, {shutil.disk_usage(data_dir).free >> 20} MiB free"
    if is_full(settings):
        floor = settings.spool.free_space_floor_mb
        raise SettingsError(f"{found}, of which [spool] free_space_floor_mb = {floor} are kept: no instance is taken")
    return found


def _ledger(settings: Settings) -> str:
    file = open_data_dir(settings) / DATABASE
    if not file.exists():
        return "none yet: the first start makes it"
    picture = Console(settings).status(limit=1)
    busy = any(picture["processes"].values())
    return f"{picture['counts']['instances']} instances" + ("; a node works with it now" if busy else "")


def _peers(settings: Settings) -> str:
    Admission(settings.association, settings.peer)
    return ", ".join(one.ae_title for one in settings.peer) or "none: nobody may call, see [[peer]] in the settings"


def _tls(settings: Settings) -> str:
    tls = ServerTls.of(settings.tls)
    if tls is None:
        return "off: whoever listens on the network reads along"
    clients = "client certificates required" if settings.tls.ca else "any client"
    return f"certificate valid for {tls.expires_in_days(datetime.now(UTC)):.0f} days, {clients}"


def _port(settings: Settings) -> str:
    address = (settings.association.bind, settings.association.port)
    receiver = f"{settings.association.ae_title} at {address[0]}:{address[1]}"
    try:
        with socket.create_server(address):
            return f"{receiver} is free"
    except OSError as error:
        ours = _port_of_receiver(settings)
        if error.errno != errno.EADDRINUSE or ours is None:
            raise
        if ours == address[1]:
            return f"{receiver} is in use by this node"
        raise SettingsError(f"port {address[1]} is in use by another program; this node listens at {ours}") from error


def _port_of_receiver(settings: Settings) -> int | None:
    """Return the port that the receiver of this data folder listens at; None if none does."""
    data_dir = open_data_dir(settings)
    file = data_dir / RECEIVER_PORT
    return int(file.read_text()) if locks.is_held(data_dir / RECEIVER_LOCK) and file.exists() else None


def _echo(settings: Settings, peer: DestinationSettings) -> str:
    try:
        status = echo(peer, Caller.of(settings, silence_s=5.0))
    except NothingTakenError:
        return "lets us in, and offers no C-ECHO"
    except RefusedError as error:
        raise RefusedError(f"{error}: what is for it will be parked, until that is put right") from error
    except DeliveryError as error:
        raise DeliveryError(f"{error}: deliveries will wait") from error
    if status:
        raise DeliveryError(f"0x{status:04X}: it may take nothing")
    return "0x0000"


def _reach(settings: Settings, one: DestinationSettings) -> str:
    destination = plugins.load("destinations", one.kind)(one, Caller.of(settings, silence_s=5.0))
    return destination.reach() if isinstance(destination, Reachable) else "not asked: its plug-in cannot"


def _missed(settings: Settings, one: DestinationSettings) -> str:
    """Return in words what a destination does not get of what its objects refer to; "" if it gets all of it.

    That is no fault: a report names all that was made with it (PS3.3 section C.17.2), wherever it goes.
    """
    made = {*settings.report.objects, ResultRole.SR}
    referred = made - {ResultRole.SR} if one.gets(ResultRole.SR) else set()
    if one.gets(ResultRole.KO):
        referred |= made & {ResultRole.KEY_IMAGES}
    missed = [role for role in ResultRole if role in referred and not one.gets(role)]
    told = [_SHOWN_BY[role] for role in missed if role in _SHOWN_BY]
    lost = f": its readers do not see {', '.join(told)}" if told else ""
    return f"what refers to {', '.join(missed)} goes there without{lost}" if missed else ""


def _echo_archive(settings: Settings, one: ArchiveSettings, *, otherwise: str = "studies are closed without it") -> str:
    try:
        status = Archive.of(settings, one, silence_s=5.0).echo()
    except RetrievalError as error:
        raise RetrievalError(f"{error}: {otherwise}") from error
    if status:
        raise RetrievalError(f"0x{status:04X}: it may answer nothing")
    return "0x0000"


def _heard(settings: Settings, one: DestinationSettings) -> str:
    """Return who reports on commitment to our receiver; RefusedError if that is admitted under no address.

    That is no fault: a few report on the association on which they were asked.
    """
    try:
        return f"may report to us: {_admitted(settings, one.name, one.ae_title, one.host)}"
    except SettingsError as error:
        why = "a report over an association of its own is rejected, and what it took is parked in the end"
        raise RefusedError(f"{error}: {why}") from error


def _way_in(settings: Settings, one: ArchiveSettings) -> str:
    """Return who brings to our receiver what an archive sends; SettingsError if that is admitted under no address."""
    title, host = (one.ae_title, one.host)
    if one.how == "get":
        title, host = settings.association.ae_title, loopback(settings.association.bind)
    try:
        admitted = _admitted(settings, one.name, title, host)
    except SettingsError as error:
        raise SettingsError(f"{error}: what is pulled would be rejected by our own receiver") from error
    return f"{', '.join(one.pull)} by C-{one.how.upper()}; {admitted}"


def _admitted(settings: Settings, name: str, title: str, host: str) -> str:
    """Return which [[peer]] a caller is; SettingsError if it is none."""
    titled = [peer for peer in settings.peer if peer.ae_title in ("*", title)]
    if not titled:
        raise SettingsError(f"no [[peer]] has the title {title}")
    try:
        address = ip_address(host)
    except ValueError:  # a name, which may stand for many addresses
        return f"a [[peer]] has the title {title}"
    if not any(address in network for peer in titled for network in peer.addresses):
        raise SettingsError(f"no [[peer]] of the title {title} has the address of {name}")
    return f"a [[peer]] admits {title}"
