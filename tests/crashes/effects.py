"""A counter of effects outside the cluster: tools reach it at this machine's address, and each call has an effect."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.commands import kubectl

# What a tool does is said by its arguments: `fails` with this exit code on its first attempt, before its effect
# (75, which says so, or 3, which does not) or after it (1); takes `seconds` after its effect, the first time;
# prints so many characters of `filler`.
PROGRAM = """
import json, os, socket, sys, time
args, first = json.load(sys.stdin), os.environ["AGENTRUN_ATTEMPT"] == "1"
if first and args.get("fails") in (75, 3):
    sys.exit(args["fails"])
key = os.environ["AGENTRUN_IDEMPOTENCY_KEY"]
with socket.create_connection((HOST, PORT)) as counter:
    told = [args["of"], key, os.environ["AGENTRUN_ATTEMPT"], os.environ["HOSTNAME"]]
    counter.sendall(" ".join(told).encode() + b"\\n")
    number = counter.makefile().readline().strip()
if first and args.get("fails") == 1:
    sys.exit(1)
time.sleep(args.get("seconds", 0) if first else 0)
print(json.dumps({"effect": key + "#" + number, "filler": "x" * args.get("filler", 0)}))
"""
# A tool that settles a doubt about such a tool: it asks how many effects there were, and has none.
SETTLING_PROGRAM = """
import json, os, socket, sys
args, key = json.load(sys.stdin), os.environ["AGENTRUN_IDEMPOTENCY_KEY"]
with socket.create_connection((HOST, PORT)) as counter:
    counter.sendall(" ".join([args["of"], key]).encode() + b"\\n")
    number = counter.makefile().readline().strip()
print(json.dumps({"found": number != "0", "effect": key + "#" + number, "filler": ""}))
"""


@dataclass(frozen=True)
class Effect:
    """One effect: under which idempotency key, by which attempt, and in which pod."""

    key: str
    attempt: int
    pod: str


class Effects:
    """Every effect there was, by what the tools' arguments say it is of."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self._seen: defaultdict[str, list[Effect]] = defaultdict(list)
        self._lock = threading.Lock()

    @property
    def program(self) -> str:
        """The program of a tool that has an effect here."""
        return self._reached_by(PROGRAM)

    @property
    def settling_program(self) -> str:
        """The program of a tool that tells whether a call of the other has had its effect."""
        return self._reached_by(SETTLING_PROGRAM)

    def _reached_by(self, program: str) -> str:
        host, port = self.address
        return program.replace("HOST,", f"{host!r},").replace("PORT)", f"{port})")

    @property
    def egress(self) -> list[dict[str, Any]]:
        """What such a tool must reach."""
        host, port = self.address
        return [{"to": [{"ipBlock": {"cidr": f"{host}/32"}}], "ports": [{"port": port, "protocol": "TCP"}]}]

    def of(self, what: str) -> list[Effect]:
        """The effects of something, in order."""
        with self._lock:
            return list(self._seen[what])

    def happen(self, what: str, key: str, attempt: str, pod: str) -> int:
        """Has an effect happen; its number among those of its key."""
        with self._lock:
            self._seen[what].append(Effect(key, int(attempt), pod))
            return sum(it.key == key for it in self._seen[what])

    def number(self, what: str, key: str) -> int:
        """How many effects there were under a key."""
        return sum(it.key == key for it in self.of(what))


@contextmanager
def counted() -> Iterator[Effects]:
    """A counter that pods can reach, until the end."""

    class Told(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            what, key, *attempt_and_pod = self.rfile.readline().decode().split()
            number = effects.happen(what, key, *attempt_and_pod) if attempt_and_pod else effects.number(what, key)
            self.wfile.write(f"{number}\n".encode())

    with _Server((_address_for_pods(), 0), Told) as server:
        host, port = server.server_address[:2]
        effects = Effects((str(host), port))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield effects
        finally:
            server.shutdown()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True  # whoever is connected at the end and says nothing is not waited for


def _address_for_pods() -> str:
    """This machine's address on the way to the node, which is how the node's pods reach it."""
    path = "--output=jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((kubectl("get", "nodes", path), 9))
        return str(way.getsockname()[0])
