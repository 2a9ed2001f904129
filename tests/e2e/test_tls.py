"""TLS that ends at `flatpass` itself."""

import socket
import ssl

from stage.repo import FREE, PAID, app_ref
from stage.store import Store, programs, self_signed


def test_gate_and_pages_over_tls_and_plain_http_on_that_port_is_no_way_in(tmp_path, template):
    repo = template.copy_to(tmp_path / "repo")
    certificate, key = self_signed(tmp_path)
    store = Store(tmp_path / "store", programs(), host="https://localhost")
    store.set("tls", certificate=str(certificate), key=str(key))
    store.trusts = ssl.create_default_context(cafile=str(certificate))
    store.command("repo", "add", "apps", str(repo.path), "--policy", "refs")
    store.start()
    try:
        commit = repo.commit(app_ref(FREE))
        status, headers, body = store.get(f"repo/apps/objects/{commit[:2]}/{commit[2:]}.commit")
        assert (status, headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert body == (repo.path / "objects" / commit[:2] / f"{commit[2:]}.commit").read_bytes()
        paid = repo.commit(app_ref(PAID))
        assert store.get(f"repo/apps/objects/{paid[:2]}/{paid[2:]}.commit")[0] == 401
        status, headers, _ = store.get("sign-in")
        assert status == 200
        assert "__Host-flatpass_form" in headers["set-cookie"] and "Secure" in headers["set-cookie"]
        with socket.create_connection(("127.0.0.1", store.port), timeout=5) as plain:
            plain.sendall(b"GET /repo/apps/summary HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        store.kill()
