"""A command inside a pod, with its stdin and stdout over a WebSocket: what `kubectl exec -i` does.

The protocol is Kubernetes' remote command, v5.channel.k8s.io or v4: every message begins with the number of its channel
(k8s.io/apimachinery/pkg/util/remotecommand). Of v5 nothing is needed here but that a server may speak it alone.

websockets makes the handshake and the frames; the socket is the transport's. ``kubernetes.stream.ws_client`` was tried: it
carries 200 MB of stdin, but connects by itself, with certificates and keys in files, through plain HTTP proxies alone, sends no
Impersonate headers, trusts no intermediate, and waits forever for a pod whose node is gone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from scheduler.kube.client import KubeClient, decode
from scheduler.kube.errors import KubeError, api_error, refuse_page, unreachable

if TYPE_CHECKING:
    from websockets.client import ClientProtocol
    from websockets.frames import Frame

PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3
PIECE = 1 << 17
"""Bytes of stdin in a message: what stands between buffers this much at a time."""
ANSWER_TIMEOUT = 10.0
"""Seconds in which the server must say that the command runs: it waits for the node's kubelet itself."""
SILENCE = 30.0
"""Seconds without a word after which the connection to a command counts as broken; ours says something every five."""
_TAIL = 4000


class StreamBroken(KubeError):
    """The connection to the pod ended in the middle."""


class ExecStream:
    """A running command. ``read`` and ``write`` wait for the other side, so that neither buffers more than some pieces."""

    def __init__(self, api: KubeClient, namespace: str, pod: str, container: str, command: Sequence[str]) -> None:
        """Raises what a request raises, and StreamBroken."""
        self.pod = pod
        self._server = api.access.server
        query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        query += [("command", part) for part in command]
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/exec?{urlencode(query)}"
        self._stdout = bytearray()
        self._said = bytearray()
        self._channel = STDOUT
        self._ended = False
        self._status: dict[str, object] = {}
        self._socket: Any = None
        self._protocol = self._connect(api, path, f" in namespace {namespace}")

    def _connect(self, api: KubeClient, path: str, where: str) -> ClientProtocol:
        from websockets.client import ClientProtocol
        from websockets.exceptions import InvalidStatus
        from websockets.typing import Subprotocol
        from websockets.uri import parse_uri

        connections, renewed = api.connections, False
        host = f"[{connections.host}]" if ":" in connections.host else connections.host
        uri = parse_uri(f"ws://{host}:{connections.port}{connections.prefix}{path}")
        while True:
            generation, asked = connections.login.generation, time.monotonic()
            self._socket = None
            try:
                self._socket = connections.connect()
                self._socket.settimeout(ANSWER_TIMEOUT)
                protocol = ClientProtocol(uri, subprotocols=[Subprotocol(name) for name in PROTOCOLS], max_size=None)
                request = protocol.connect()
                request.headers["User-Agent"] = "cronsemble"
                for name, value in connections.login_headers():
                    request.headers[name] = value
                protocol.send_request(request)
                self._flush(protocol)
                answered = False
                while not answered:
                    self._receive(protocol)
                    answered = True in [self._take(event) for event in protocol.events_received()]
            except OSError as error:
                is_silent = self._socket is not None and isinstance(error, TimeoutError)
                self._disconnect()
                if is_silent:
                    why = f"no answer in {time.monotonic() - asked:.0f} s: does its node's kubelet run?"
                    raise StreamBroken(f"pod {self.pod}: {why}") from error
                raise unreachable(self._server, api.access.context, error, time.monotonic() - asked) from error
            problem = protocol.handshake_exc
            if problem is None:
                self._socket.settimeout(SILENCE)
                return protocol
            self._disconnect()
            if not isinstance(problem, InvalidStatus):
                raise KubeError(f"{self._server}: a proxy between does not let WebSockets through: {problem}")
            answer = problem.response
            if answer.status_code != 401 or renewed or not connections.login.renew(generation):
                body = bytes(answer.body or b"")
                refuse_page(self._server, answer.status_code, answer.headers, body)
                raise api_error("GET", f"pods/exec/{self.pod}", "get", where, answer.status_code, decode(body))
            renewed = True

    def write(self, data: bytes) -> None:
        """All of it to the command's stdin."""
        if self._ended:
            raise self._broken("")
        try:
            for at in range(0, len(data), PIECE):
                self._protocol.send_binary(bytes([STDIN]) + data[at : at + PIECE])
                self._flush(self._protocol)
        except OSError as error:
            raise self._broken(str(error)) from error

    def read(self, size: int) -> bytes:
        """Some of what the command has written, at most ``size`` bytes; nothing once it has ended."""
        while not self._stdout:
            if self._ended:
                return b""
            try:
                self._receive(self._protocol)
                for event in self._protocol.events_received():
                    self._take(event)
                # Answers to pings.
                self._flush(self._protocol)
            except OSError as error:
                raise self._broken(f"no word in {SILENCE:.0f} s" if isinstance(error, TimeoutError) else str(error)) from error
        data = bytes(self._stdout[:size])
        del self._stdout[:size]
        return data

    def error_output(self) -> str:
        """The end of what it wrote to stderr, and how it ended, as one line."""
        lines = [line.strip() for line in self._said.decode(errors="replace").splitlines() if line.strip()]
        ended = str(self._status.get("message") or "") if self._status.get("status") == "Failure" else ""
        return ": ".join(filter(None, (ended, lines[-1] if lines else "")))

    def close(self) -> None:
        """End it: its stdin ends with the connection."""
        self._ended = True
        try:
            self._protocol.send_close()
            self._socket.settimeout(1)
            self._flush(self._protocol)
        except Exception:  # it may be broken in any way
            pass
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _broken(self, why: str) -> StreamBroken:
        self._ended = True
        reason = self.error_output() or why or "its other end was closed"
        return StreamBroken(f"the connection to pod {self.pod} broke: {reason}")

    def _flush(self, protocol: ClientProtocol) -> None:
        for data in protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def _receive(self, protocol: ClientProtocol) -> None:
        data = self._socket.recv(1 << 18)
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
            self._ended = True
            if protocol.handshake_exc is None and not self._status:
                raise ConnectionError("it was closed")

    def _take(self, event: object) -> bool:
        """Put a frame's bytes where its channel's belong; whether it was the server's answer to the handshake."""
        from websockets.frames import Frame, Opcode

        if not isinstance(event, Frame):
            return True
        self._sort(event, Opcode.CONT, Opcode.CLOSE)
        return False

    def _sort(self, frame: Frame, continued: int, closed: int) -> None:
        if frame.opcode == closed:
            self._ended = True
            return
        data = bytes(frame.data)
        if frame.opcode != continued:
            self._channel, data = (data[0], data[1:]) if data else (STDOUT, b"")
        if self._channel == STDOUT:
            self._stdout += data
        elif self._channel == STDERR:
            self._said = (self._said + data)[-_TAIL:]
        elif self._channel == STATUS and data:
            # It comes when the command has ended, whatever it ended as.
            self._status = dict(json.loads(data))
            self._ended = True
