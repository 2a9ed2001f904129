"""A Flatpak index of a container registry with no store behind it: a file on a web server, as many registries have it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from stage.images import Layout, repository


class PlainIndex:
    """Serves `/index/static` with the images of a layout, which are said to be in `registry` (a URL) below `namespace`."""

    def __init__(self, layout: Layout, registry: str, namespace: str = ""):
        self.layout = layout
        self.registry = registry
        self.namespace = namespace
        self.requests: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.requests.append(f"{self.path} {self.headers.get('Authorization')}")
                body = json.dumps(index.document()).encode() if urlsplit(self.path).path == "/index/static" else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Cache-Control", "no-cache")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """What the remote's URL is."""
        return f"oci+http://{self.host}"

    def document(self) -> dict:
        return {"Registry": self.registry, "Results": [self._result(ref) for ref in self.layout.refs()]}

    def _result(self, ref: str) -> dict:
        config = self.layout.config(ref)
        entry = self.layout.entry(ref)
        image = {
            "Tags": ["latest"], "Digest": entry["digest"], "MediaType": entry["mediaType"], "OS": "linux",
            "Architecture": config["architecture"], "Annotations": {}, "Labels": config["config"]["Labels"],
        }
        return {"Name": repository(ref, self.namespace), "Images": [image], "Lists": []}

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
