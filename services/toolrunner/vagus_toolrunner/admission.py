"""Whether a request may run here, and for how long: its grant, its deadline, and the workspace it names."""

import os
from pathlib import Path

from vagus.contract.clock import parse
from vagus.contract.errors import HarnessError, Refused
from vagus.contract.grants import Grant, call_hash
from vagus.contract.messages import ToolRequest
from vagus.runtime.grants import GrantVerifier


def granted(request: ToolRequest, verifier: GrantVerifier) -> Grant:
    """The grant of `request`; HarnessError if it is not signed, or is for any other call.

    It may have expired: a call that was started in time is still answered for.
    """
    try:
        grant = verifier.verify(request.grant)
        called = call_hash(request.call)
    except Refused as error:
        raise _refused(error.message) from error
    except (RecursionError, ValueError) as error:
        raise _refused(f"the input cannot be hashed: {error}") from error
    if (grant.session_id, grant.branch_id) != (request.session_id, request.branch_id):
        raise _refused("it is for another session or branch")
    if grant.tool_run_id != request.tool_run_id:
        raise _refused("it is for another run")
    if grant.call_hash != called:
        raise _refused("it is for another tool or input")
    return grant


def time_left(request: ToolRequest, grant: Grant, timeout_s: float, now_ns: int) -> float:
    """Seconds the call may run; HarnessError if it may not start any more, Malformed if a time is none."""
    if now_ns >= grant.expires_at * 1_000_000:
        raise _refused("it has expired")
    left_s = waits_for(request, now_ns)
    if left_s <= 0:
        raise HarnessError("the call waited past its deadline for a runner")
    return min(left_s, timeout_s, grant.limits.timeout_secs)


def waits_for(request: ToolRequest, now_ns: int) -> float:
    """Seconds until the kernel gives up waiting; Malformed if the deadline is no time."""
    return (parse(request.deadline) - now_ns) / 1e9


def workspace_of(request: ToolRequest, root: Path) -> Path:
    """The workspace of the request's session below `root`; HarnessError if the request means another."""
    workspace = os.path.join(os.path.abspath(root), "sessions", request.session_id)  # noqa: PTH100, PTH118
    if os.path.abspath(request.workspace_root) != workspace:  # noqa: PTH100 -- by the text: links stay links
        raise HarnessError(
            f"the request names the workspace {request.workspace_root}, this runner has {workspace}: "
            "give kernels and runners the same VAGUS_ROOT"
        )
    return Path(workspace)


def _refused(why: str) -> HarnessError:
    return HarnessError(f"grant refused: {why}")
