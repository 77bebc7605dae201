"""Ports of 127.0.0.1, for peers that are started and stopped."""

import random
import socket

# Below those that Linux gives to whoever connects (net.ipv4.ip_local_port_range): a port from there may be a client's
# between its choice and its use, or while the one who listens is restarted.
_PORTS = range(12000, 32000)
_chance = random.SystemRandom()  # another one in each process, whoever seeds what


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody has, and that no client will get by chance."""
    while True:
        port = _chance.choice(_PORTS)  # not the first free one: others choose at the same moment
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def listens(port: int) -> bool:
    """Return whether somebody takes connections at a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
