"""A TCP passage to a store under another URL, which notes each request's head: a mirror, or an eavesdropper."""

import socket
import threading

from stage.store import free_port


class Passage:
    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.heads: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._target = 0

    def lead_to(self, port: int) -> None:
        self._target = port
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [head.split(" ", 2)[1] for head in self.heads]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        """One request for each connection, so that each has a head of its own."""
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            data = b""
            while b"\r\n\r\n" not in data:
                more = client.recv(65536)
                if not more:
                    return
                data += more
            self.heads.append(data.decode("latin-1"))
            server.sendall(data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            while more := server.recv(65536):
                client.sendall(more)
