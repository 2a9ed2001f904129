"""A flat-manager that serves a repository, as its source (0.5) does it. The real one is in no package index.

It gates `.commit` files alone here, by token type, and takes a token as flat-manager does: signed with its secret, not expired, and either without
prefixes, or with one of the commit's id, or with the id among its apps. A missing or insufficient token is 403, a bad one 401, for free files too.
"""

import base64
import hashlib
import hmac
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FlatManager:
    """Serves `repo` at `url`; `heads` has the requests' paths with what token they had, if any."""

    def __init__(self, repo: Path, secret: bytes, gated: set[str]):
        self.repo = repo
        self.secret = secret
        self.gated = gated
        self.heads: list[tuple[str, str]] = []
        stand = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                stand.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/repo/stable"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.removeprefix("/repo/stable/")
        sent = request.headers.get("Authorization", "")
        self.heads.append((path, sent))
        claims = self.claims(sent.removeprefix("Bearer ")) if sent else None
        if sent and claims is None:
            return self.send(request, 401, b"{}")
        app = self.app_of(path) if path.endswith(".commit") else None
        if app and not (claims and self.opens(claims, app)):
            return self.send(request, 403, b"{}")
        file = self.repo / path
        if ".." in path or not file.is_file():
            return self.send(request, 404, b"")
        self.send(request, 200, file.read_bytes())

    @staticmethod
    def send(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def claims(self, token: str) -> dict | None:
        try:
            message, _, signature = token.rpartition(".")
            right = hmac.new(self.secret, message.encode(), hashlib.sha256).digest()
            if not hmac.compare_digest(right, base64.urlsafe_b64decode(signature + "==")):
                return None
            payload = message.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return claims if claims["exp"] >= time.time() and "sub" in claims else None
        except (ValueError, KeyError):
            return None

    @staticmethod
    def opens(claims: dict, app: str) -> bool:
        prefixes = claims.get("prefixes", [])
        below = any(p == "" or app == p or app.startswith(p + ".") for p in prefixes)
        return not prefixes or below or app in claims.get("apps", [])

    def app_of(self, path: str) -> str | None:
        """The gated id that the commit at this path is of."""
        commit = path.removeprefix("objects/").removesuffix(".commit").replace("/", "")
        run = ["ostree", f"--repo={self.repo}", "show", "--print-metadata-key=ostree.ref-binding", commit]
        said = subprocess.run(run, capture_output=True, text=True)
        ids = [part.split("/")[1] for part in said.stdout.split("'") if part.startswith(("app/", "runtime/"))]
        return next((app for app in ids if app in self.gated), None)
