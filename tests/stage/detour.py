"""Stands before a registry as a host that lies: it changes what it passes on, sends people elsewhere, and notes who asks for what."""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stage.images import Layout

NOT_PASSED_ON = {"connection", "transfer-encoding", "content-length", "keep-alive"}
CHUNK = b"{" * 65536


@dataclass
class Answer:
    """What the registry said. An `endless` one goes on until the client has had enough; `endless_bytes` says how much it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    endless: bool = False


@dataclass
class Seen:
    """A request."""

    method: str
    path: str
    authorization: str | None
    headers: dict[str, str] = field(repr=False)


Change = Callable[[Seen, Answer], Answer]


class Host:
    """A web server on a free port that notes all requests."""

    def __init__(self):
        self.seen: list[Seen] = []
        self.endless_bytes: list[int] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers.get("authorization"), headers)
                host.seen.append(seen)
                self._send(host.answer(seen, body))

            do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in NOT_PASSED_ON:
                        self.send_header(name, value)
                length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(answer.body))
                if answer.endless:
                    self.send_header("Connection", "close")
                elif length is not None:
                    self.send_header("Content-Length", length)
                self.end_headers()
                if answer.endless:
                    self._go_on()
                elif self.command != "HEAD":
                    self.wfile.write(answer.body)

            def _go_on(self) -> None:
                self.close_connection = True
                sent = 0
                try:
                    while self.command != "HEAD":
                        self.wfile.write(CHUNK)
                        sent += len(CHUNK)
                except OSError:
                    host.endless_bytes.append(sent)

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # clients that hang up
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, seen: Seen, body: bytes) -> Answer:
        raise NotImplementedError

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Detour(Host):
    """Leads to the registry on `port`. `change` is asked about each answer."""

    def __init__(self, port: int):
        super().__init__()
        self._target = port
        self.change: Change = lambda _, answer: answer

    def source(self, namespace: str) -> str:
        """What `flatpass repo add` calls it."""
        return f"oci+http://{self.host}/{namespace}"

    def answer(self, seen: Seen, body: bytes) -> Answer:
        return self.change(seen, passed_on(self._target, seen, body))


class Storehouse(Host):
    """Where a registry sends people for blobs: it has those of a layout, and asks nobody."""

    def __init__(self, layout: Layout):
        super().__init__()
        self._layout = layout

    def url(self, digest: str) -> str:
        """By another name than registries have in the tests."""
        return f"http://localhost:{self.port}/{digest}"

    def answer(self, seen: Seen, body: bytes) -> Answer:
        return Answer(200, {"Content-Type": "application/octet-stream"}, self._layout.blob(seen.path.strip("/")).read_bytes())


def passed_on(port: int, seen: Seen, body: bytes) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {name: value for name, value in seen.headers.items() if name not in NOT_PASSED_ON}
        connection.request(seen.method, seen.path, body or None, headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    except OSError as down:
        return Answer(502, {}, str(down).encode())
    finally:
        connection.close()
