"""Requests over Python's own TLS, by each version, and over a session that is resumed.

usage: tls.py PORT TRUSTED_AUTHORITY
"""

import socket
import ssl
import sys


def get(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[str, ssl.SSLSession, bool]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as stream:
            stream.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b""
            while part := stream.recv(65536):
                answer += part
            return answer.split()[1].decode(), stream.session, stream.session_reused


def context(trusted: str, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=trusted)
    context.minimum_version = context.maximum_version = version
    return context


def main(port: int, trusted: str) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        name = version.name.replace("_", ".")
        try:
            print(name, get(port, context(trusted, version))[0])
        except ssl.SSLError:
            print(name, "refused")
    one = context(trusted, ssl.TLSVersion.TLSv1_3)
    _, session, _ = get(port, one)
    status, _, resumed = get(port, one, session)
    print("resumed" if resumed else "not resumed", status)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
