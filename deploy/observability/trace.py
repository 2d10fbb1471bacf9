"""`python -m deploy.observability.trace [FILE]`: runs one tick for real and draws its trace.

The tick calls a tool that needs an approval, so that all have a part in it: client, kernel, policy gate,
approver, tool runner. Each process exports its spans to its own log, from where they are read.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import anyio
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import vagus
from vagus.runtime import telemetry

WIDTH, LEFT, RIGHT, TOP, ROW = 1080, 330, 90, 64, 26
COLOURS = {
    "client": "#777777",
    "vagus-kernel": "#3b6fb6",
    "vagus-policygate": "#b5622b",
    "vagus-toolrunner": "#3f8f5f",
    "vagus-approver": "#8a5aa8",
}
POLICY = vagus.PolicySet(
    allow_capabilities=(),
    gate_capabilities=("fs:write:**",),
    max_tool_runtime_secs=10,
    max_events_per_turn=256,
)


class Bar(NamedTuple):
    """A span; times in seconds since the epoch."""

    trace: str
    span: str
    parent: str | None
    service: str
    label: str
    start: float
    end: float


async def run(store: Path) -> list[dict[str, Any]]:
    """One tick with a call that is approved at once; gives our own spans. All processes have told theirs."""
    ours = InMemorySpanExporter()
    tracing = TracerProvider(resource=Resource.create({"service.name": "client"}))
    tracing.add_span_processor(SimpleSpanProcessor(ours))
    telemetry.join(tracing)
    os.environ["OTEL_TRACES_EXPORTER"] = "console"  # of the processes
    async with vagus.embedded(store, actor="ada", durability="fast") as client:
        session = await client.create_session(owner="ada", policy=POLICY)
        await session.tick("hello")  # what is slow only the first time is over
        call = vagus.ToolCall(tool_name="fs.write", input={"path": "artifacts/note.txt", "content": "hi"})
        with anyio.fail_after(30), telemetry.span("tick, and an approval"):
            output = await session.tick("keep a note", tool=call)
            await client.approve(output.pending_approvals[0].approval_id, actor="ada")
            async for event in session.events():
                if event.sequence > output.last_sequence and event.type == "Heartbeat":
                    break
    return [json.loads(span.to_json()) for span in ours.get_finished_spans()]


def bars(logs: Path) -> Iterator[Bar]:
    """The spans in the logs of all processes."""
    decoder = json.JSONDecoder()
    for log in sorted(logs.glob("*.log")):
        text = log.read_text()
        place = text.find("{\n")
        while place >= 0:
            span, end = decoder.raw_decode(text, place)
            yield _bar(span)
            place = text.find("{\n", end)


def _bar(span: dict[str, Any]) -> Bar:
    attributes = span["attributes"]
    label = span["name"]
    for name in ("life.loop_phase", "life.policy.decision", "gen_ai.tool.name", "life.approval.decision"):
        if name in attributes:
            label += f" · {attributes[name]}"
            break
    return Bar(
        trace=span["context"]["trace_id"],
        span=span["context"]["span_id"],
        parent=span["parent_id"],
        service=span["resource"]["attributes"]["service.name"],
        label=label,
        start=_seconds(span["start_time"]),
        end=_seconds(span["end_time"]),
    )


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def tick(found: list[Bar]) -> list[Bar]:
    """The trace in which most kinds of processes had a part, in order."""
    kinds = Counter(trace for trace, _ in {(bar.trace, bar.service) for bar in found})
    trace, _ = kinds.most_common(1)[0]
    return sorted(
        (bar for bar in found if bar.trace == trace),
        key=lambda bar: (bar.start, bar.label != "invoke_agent", bar.end),
    )


def drawn(trace: list[Bar]) -> str:
    """The trace as a picture: a row a span, time from left to right."""
    began, ended = min(bar.start for bar in trace), max(bar.end for bar in trace)
    scale = (WIDTH - LEFT - RIGHT) / (ended - began)
    height = TOP + ROW * len(trace) + 16
    parents = {bar.span: bar.parent for bar in trace}
    font = 'font-family="sans-serif" font-size="13"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, service in enumerate(COLOURS):
        x = 16 + 160 * number
        lines.append(f'<rect x="{x}" y="14" width="12" height="12" fill="{COLOURS[service]}"/>')
        lines.append(f'<text x="{x + 18}" y="25" fill="#222222">{service}</text>')
    for part in range(5):
        x = LEFT + (WIDTH - LEFT - RIGHT) * part / 4
        text = f"{(ended - began) * 1000 * part / 4:.0f} ms"
        lines.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 12}" stroke="#dddddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{TOP - 14}" fill="#666666" text-anchor="middle">{text}</text>')
    for number, bar in enumerate(trace):
        y = TOP + ROW * number
        x, wide = LEFT + (bar.start - began) * scale, max(2.0, (bar.end - bar.start) * scale)
        depth = _depth(bar, parents)
        taken = f"{(bar.end - bar.start) * 1000:.1f} ms"
        colour = COLOURS.get(bar.service, "#888888")
        lines += [
            f'<text x="{16 + 14 * depth}" y="{y + 15}" fill="#222222">{escape(bar.label)}</text>',
            f'<rect x="{x:.1f}" y="{y + 3}" width="{wide:.1f}" height="{ROW - 8}" rx="2" fill="{colour}"/>',
            f'<text x="{x + wide + 5:.1f}" y="{y + 15}" fill="#666666" font-size="11">{taken}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _depth(bar: Bar, parents: dict[str, str | None]) -> int:
    depth, parent = 0, bar.parent.removeprefix("0x") if bar.parent else None
    known = {span.removeprefix("0x"): above for span, above in parents.items()}
    while parent is not None and parent in known:
        depth += 1
        above = known[parent]
        parent = above.removeprefix("0x") if above else None
    return depth


def main() -> int:
    """Run it and write the picture."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures/tick-trace.svg")
    with tempfile.TemporaryDirectory(prefix="vagus-trace-") as folder:
        store = Path(folder)
        ours = anyio.run(run, store)
        trace = tick([*map(_bar, ours), *bars(store / "logs")])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(drawn(trace))
    print(f"{target}: {len(trace)} spans of {len({bar.service for bar in trace})} kinds of processes")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
