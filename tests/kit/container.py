"""The same nats-server in a container: its image is nothing but the binary, so that no registry is needed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.image import DockerImage
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from vagus.runtime.embedded import find_server

DOCKERFILE = """\
FROM scratch
COPY nats-server /nats-server
COPY nats.conf /nats.conf
ENTRYPOINT ["/nats-server", "-c", "/nats.conf"]
"""
PORT = 4222
CONFIGURATION = f"""\
port: {PORT}
jetstream {{ store_dir: "/store", sync_interval: always }}
"""


def engine() -> str | None:
    """Why there is no Docker engine to use; None if there is one."""
    try:
        client = docker.from_env(timeout=5)
        client.ping()
        client.close()
    except docker.errors.DockerException as error:
        return str(error)
    return None


@contextmanager
def nats_in_a_container(folder: Path) -> Iterator[str]:
    """Run a server in a container while the block lasts; gives its URL, on loopback."""
    shutil.copy(find_server(), folder / "nats-server")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "nats.conf").write_text(CONFIGURATION)
    testcontainers_config.ryuk_disabled = True  # its image would have to be pulled
    testcontainers_config.tc_host_override = "127.0.0.1"
    with DockerImage(path=folder, tag="vagus-test-nats:local") as image:
        server = DockerContainer(str(image)).with_exposed_ports(PORT)
        with server.waiting_for(LogMessageWaitStrategy("Server is ready")) as container:
            yield f"nats://{container.get_container_host_ip()}:{container.get_exposed_port(PORT)}"
