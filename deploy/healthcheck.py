"""`python healthcheck.py URL`: ends with 0 if it is answered with 200, else with 1 and the reason.

It is started every few seconds in every container, and therefore imports hardly anything.
"""

import socket
import sys

TIMEOUT_S = 8.0


def main(url: str) -> int:
    """Ask once."""
    place, _, path = url.removeprefix("http://").partition("/")
    host, _, port = place.partition(":")
    request = f"GET /{path} HTTP/1.0\r\nHost: {place}\r\n\r\n"
    said = b""
    try:
        with socket.create_connection((host, int(port or 80)), timeout=TIMEOUT_S) as connection:
            connection.sendall(request.encode())
            while len(said) < 4096 and (more := connection.recv(4096)):
                said += more
    except OSError as error:
        print(f"no answer: {error}")  # noqa: T201 -- shown by `docker inspect`
        return 1
    head, _, body = said.decode(errors="replace").partition("\r\n\r\n")
    print(body.strip())  # noqa: T201 -- shown by `docker inspect`
    return 0 if head.split(" ", 2)[1:2] == ["200"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
