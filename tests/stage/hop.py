"""Passes TCP connections on: hop.py LISTEN TO. A connection whose other end cannot be reached is reset."""

import socket
import struct
import sys
import threading


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(near: socket.socket, to: tuple[str, int]) -> None:
    try:
        far = socket.create_connection(to, timeout=2)
    except OSError:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()
        return
    far.settimeout(None)
    other = threading.Thread(target=pump, args=(far, near), daemon=True)
    other.start()
    pump(near, far)
    other.join()
    near.close()
    far.close()


def address(text: str) -> tuple[str, int]:
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main() -> None:
    listener = socket.create_server(address(sys.argv[1]), backlog=128)
    print("listening", flush=True)
    while True:
        near, _ = listener.accept()
        threading.Thread(target=serve, args=(near, address(sys.argv[2])), daemon=True).start()


main()
