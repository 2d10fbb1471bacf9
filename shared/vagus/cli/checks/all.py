"""Everything that is checked, in the order in which it is shown."""

from pathlib import Path

from vagus.cli.checks.finding import Diagnosis
from vagus.cli.checks.server import check_server
from vagus.cli.checks.store import check_store
from vagus.cli.checks.versions import check_versions


async def check_all(server: str, store: Path) -> Diagnosis:
    """Versions, server, store."""
    findings = [*check_versions(), *await check_server(server), *check_store(store)]
    return Diagnosis(ok=all(finding.ok for finding in findings), findings=tuple(findings))
