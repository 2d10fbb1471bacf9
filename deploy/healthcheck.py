"""`python healthcheck.py URL`: ends with 0 if it is answered with 200, else with 1 and the reason."""

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_S = 2.0


def main(url: str) -> int:
    """Ask once."""
    target = urlsplit(url)
    connection = HTTPConnection(target.hostname or "127.0.0.1", target.port or 80, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"{target.path or '/'}?{target.query}")
        answer = connection.getresponse()
        said = answer.read(512).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        print(f"no answer: {error}")  # noqa: T201 -- shown by `docker inspect`
        return 1
    finally:
        connection.close()
    print(said)  # noqa: T201 -- shown by `docker inspect`
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
