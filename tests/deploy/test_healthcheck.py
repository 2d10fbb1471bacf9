"""What containers ask to know whether they are well."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.kit.cluster import free_ports
from tests.kit.documents import ROOT


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"asked for {self.path}".encode()
        self.send_response(200 if self.path == "/readyz" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def asked(url: str) -> tuple[int, str]:
    command = [sys.executable, "-S", "-E", str(ROOT / "deploy" / "healthcheck.py"), url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return run.returncode, run.stdout.strip()


def test_200_is_well_and_everything_else_is_not(port: int) -> None:
    assert asked(f"http://127.0.0.1:{port}/readyz") == (0, "asked for /readyz")
    assert asked(f"http://127.0.0.1:{port}/other?x=1") == (1, "asked for /other?x=1")


def test_no_answer_is_not_well() -> None:
    (port,) = free_ports(1)
    code, told = asked(f"http://127.0.0.1:{port}/readyz")
    assert code == 1
    assert told.startswith("no answer: ")
