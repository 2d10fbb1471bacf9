"""What `vagus doctor` looks at."""

from vagus.cli.checks.all import check_all
from vagus.cli.checks.finding import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "check_all"]
