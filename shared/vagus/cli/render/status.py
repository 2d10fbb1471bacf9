"""The whole installation, for people."""

from rich.text import Text

from vagus.cli.render.console import console, pairs, table
from vagus.cli.render.sessions import mode_text
from vagus.cli.render.text import clean
from vagus.contract import limits
from vagus.contract.status import Member, Queue, Server, SessionCount, Status

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def shown(status: Status) -> None:
    """Some lines, and a table each of the processes and of the queues."""
    out = console()
    out.print(
        pairs(
            ("server", Text("unknown", style="red") if status.server is None else _server(status.server)),
            (
                "sessions",
                Text("unknown", style="red") if status.sessions is None else _sessions(status.sessions),
            ),
            ("oldest input", _oldest(status)),
        )
    )
    out.print()
    out.print(
        table(
            "PROCESS",
            "ALIVE",
            "HAS",
            rows=[_member(member, status) for member in status.members],
            empty="no process lives: start everything with `vagus up`",
        )
    )
    out.print()
    out.print(
        table(
            "QUEUE",
            "MESSAGES",
            "IN HAND",
            "AGAIN",
            "OLDEST",
            rows=[_queue(queue) for queue in status.queues],
            empty="no queue could be read" if status.problems else "no queues: the first process makes them",
        )
    )
    if status.problems:
        out.print()
    for problem in status.problems:
        out.print(Text(f"✗ {clean(problem)}", style="red"))


def _server(server: Server) -> Text:
    text = Text(f"nats-server {server.version}")
    if server.leader:
        text.append(f" {clean(server.leader)}")
    for replica in server.replicas:
        well = replica.current and not replica.offline
        text.append(" · ")
        text.append(clean(replica.name), style="" if well else "red")
        if not well:
            text.append(" offline" if replica.offline else f" {replica.lag} behind", style="red")
    used = f"{server.streams} streams · {server.consumers} consumers · {_size(server.storage_bytes)} on disk"
    text.append(f" · {used} · {_size(server.memory_bytes)} in memory")
    return text


def _sessions(sessions: SessionCount) -> Text:
    text = Text(str(sessions.total))
    for mode, count in sessions.by_mode.items():
        text.append(f" · {count} ")
        text.append(mode_text(mode))
    if sessions.closed:
        text.append(f" · {sessions.closed} closed")
    if sessions.archived:
        text.append(f" · {sessions.archived} of all archived")
    if sessions.pending_approvals:
        text.append(f" · {sessions.pending_approvals} approvals pending", style="yellow")
    return text


def _oldest(status: Status) -> Text:
    oldest = status.oldest_input
    if oldest is None:
        return Text("none", style="dim")
    owner = clean(oldest.kernel) if oldest.kernel else "nobody"
    style = "" if oldest.kernel else "red"
    what = f"{_span(oldest.age_s)}: a {oldest.role} of {clean(oldest.session_id)}"
    return Text.assemble(what, f", partition {oldest.partition} of ", (owner, style))


def _member(member: Member, status: Status) -> tuple[str | Text, ...]:
    has = ", ".join(clean(pool) for pool in member.pools)
    if member.name in status.owned:
        has = f"{len(status.owned[member.name])} of {status.partitions or '?'} partitions"
    alive = "" if member.alive_s is None else _span(member.alive_s)
    return Text(clean(member.name), style="bold"), alive, has


def _queue(queue: Queue) -> tuple[str | Text, ...]:
    bad = queue.messages > 0 and (queue.name == "dead" or (queue.oldest_s or 0) > limits.ACK_WAIT_S)
    return (
        Text(clean(queue.name), style="bold"),
        Text(str(queue.messages), style="yellow" if bad else ""),
        "" if queue.in_hand is None else str(queue.in_hand),
        "" if queue.redelivered is None else str(queue.redelivered),
        "" if queue.oldest_s is None else _span(queue.oldest_s),
    )


def _span(seconds: float) -> str:
    """A duration in its two greatest units."""
    whole = int(seconds)
    for place, (size, unit) in enumerate(_UNITS):
        if whole >= size:
            rest_size, rest_unit = _UNITS[place + 1] if place + 1 < len(_UNITS) else (1, "s")
            rest = whole % size // rest_size
            return f"{whole // size} {unit}" + (f" {rest} {rest_unit}" if rest else "")
    return f"{seconds:.1f} s"


def _size(amount: int) -> str:
    """Bytes with a unit."""
    size, unit = float(amount), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < limits.KIB:
            break
        size, unit = size / limits.KIB, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
