"""A company's identity provider, scripted: OpenID Connect metadata, keys that rotate, and tokens signed with RS256 by openssl."""

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stage.store import free_port

LIFE = 600  # seconds


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class SigningKey:
    def __init__(self, folder: Path, kid: str):
        self.kid = kid
        self._file = folder / f"{kid}.pem"
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["openssl", "genrsa", "-out", self._file, "2048"], check=True, capture_output=True)

    def jwk(self) -> dict:
        said = subprocess.run(
            ["openssl", "rsa", "-in", self._file, "-noout", "-modulus"], check=True, capture_output=True, text=True
        ).stdout
        modulus = bytes.fromhex(said.strip().removeprefix("Modulus="))
        return {"kty": "RSA", "kid": self.kid, "use": "sig", "n": base64url(modulus), "e": "AQAB"}

    def sign(self, claims: dict) -> str:
        parts = [{"typ": "JWT", "alg": "RS256", "kid": self.kid}, claims]
        message = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self._file], input=message.encode(), check=True, capture_output=True
        ).stdout
        return f"{message}.{base64url(signed)}"


class IdentityProvider:
    def __init__(self, folder: Path):
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/realms/staff"
        self.keys = [SigningKey(folder, "first")]
        self.asked: list[str] = []
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> "IdentityProvider":
        provider = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self):
                provider.asked.append(self.path)
                answer = {
                    "/realms/staff/.well-known/openid-configuration":
                        lambda: {"issuer": provider.url, "jwks_uri": f"{provider.url}/keys"},
                    "/realms/staff/keys": lambda: {"keys": [key.jwk() for key in provider.keys]},
                }.get(self.path)
                body = json.dumps(answer()).encode() if answer else b""
                self.send_response(200 if answer else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Answers)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def publish(self, kid: str) -> SigningKey:
        """One more key, which is published before it signs."""
        self.keys.append(SigningKey(self._folder, kid))
        return self.keys[-1]

    def token(self, audience: str, groups: list[str], key: SigningKey | None = None, **claims) -> str:
        now = int(time.time())
        whole = {"iss": self.url, "aud": audience, "sub": "u-17", "iat": now, "exp": now + LIFE, "groups": groups}
        return (key or self.keys[0]).sign({**whole, **claims})
