"""What can be known before a start: settings, plug-ins, data folder, database, port, destinations."""

import errno
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from node import locks, plugins
from node.association.admission import Admission
from node.association.tls import ServerTls
from node.calling import Caller
from node.completion import read_table
from node.console import Console
from node.delivery import echo, probe
from node.errors import DeliveryError, NodeError, RetrievalError, SettingsError
from node.ports import Reachable
from node.process import DATABASE, RECEIVER_LOCK, RECEIVER_PORT, open_data_dir
from node.retrieval import Archive, loopback
from node.settings import ArchiveSettings, DestinationSettings, Settings
from node.worker import destinations, queried


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    found: str
    passed: bool


def run_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks in the order in which a start would meet them.

    A destination that does not answer is shown, and is no fault: deliveries wait for it.
    """
    yield Check("SQLite", sqlite3.sqlite_version, sqlite3.sqlite_version_info >= (3, 35))  # UPDATE .. RETURNING
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
            answered = _echo(settings, one)
            yield Check(f"C-ECHO {one.name}", answered, passed=True)
            if answered.startswith("0x"):
                yield _attempt(f"objects for {one.name}", partial(probe, one, Caller.of(settings, silence_s=5.0)))
        else:
            yield _attempt(f"{one.kind} {one.name}", partial(_reach, settings, one))
        if one.verify:
            found = _echo_archive(settings, queried(one), otherwise="deliveries will wait")
            yield Check(f"C-ECHO query {one.name}", found, passed=True)
    for each in settings.archive:
        yield Check(f"C-ECHO archive {each.name}", _echo_archive(settings, each), passed=True)
        if each.pull:
            yield _attempt(f"pull from {each.name}", partial(_way_in, settings, each))


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, look(), passed=True)
    except NodeError as error:
        return Check(name, str(error), passed=False)
    except OSError as error:
        return Check(name, error.strerror or type(error).__name__, passed=False)


def _drop_folder(folder: Path) -> str:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or not folder.is_dir():
        raise SettingsError("[emg] folder is no folder in which the node may read, move and remove files")
    return "readable and writable"


def _data_dir(settings: Settings) -> str:
    data_dir = open_data_dir(settings)
    return f"{data_dir}, {shutil.disk_usage(data_dir).free >> 30} GiB free"


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
    except DeliveryError as error:
        return f"{error}: deliveries will wait"
    return f"0x{status:04X}"


def _reach(settings: Settings, one: DestinationSettings) -> str:
    destination = plugins.load("destinations", one.kind)(one, Caller.of(settings, silence_s=5.0))
    return destination.reach() if isinstance(destination, Reachable) else "not asked: its plug-in cannot"


def _echo_archive(settings: Settings, one: ArchiveSettings, *, otherwise: str = "studies are closed without it") -> str:
    try:
        status = Archive.of(settings, one, silence_s=5.0).echo()
    except RetrievalError as error:
        return f"{error}: {otherwise}"
    return f"0x{status:04X}"


def _way_in(settings: Settings, one: ArchiveSettings) -> str:
    """Return who brings to our receiver what an archive sends; SettingsError if that is admitted under no address."""
    title, host = (one.ae_title, one.host)
    if one.how == "get":
        title, host = settings.association.ae_title, loopback(settings.association.bind)
    titled = [peer for peer in settings.peer if peer.ae_title in ("*", title)]
    if not titled:
        raise SettingsError(f"no [[peer]] has the title {title}: what is pulled would be rejected by our own receiver")
    try:
        address = ip_address(host)
    except ValueError:  # a name, which may stand for many addresses
        return f"{', '.join(one.pull)} by C-{one.how.upper()}; a [[peer]] has the title {title}"
    if not any(address in network for peer in titled for network in peer.addresses):
        raise SettingsError(f"no [[peer]] of the title {title} has the address of {one.name}")
    return f"{', '.join(one.pull)} by C-{one.how.upper()}; a [[peer]] admits {title}"
