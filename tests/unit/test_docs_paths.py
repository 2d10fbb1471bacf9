"""What the documents name is there: files, names in files, links, make targets, settings and verbs."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.kit import documents
from tests.kit.documents import ROOT

SHORT = {
    "contract/": "shared/vagus/contract/",
    "runtime/": "shared/vagus/runtime/",
    "sdk/": "shared/vagus/sdk/",
    "cli/": "shared/vagus/cli/",
    "kernel/": "services/kernel/vagus_kernel/",
    "gate/": "services/policygate/vagus_policygate/",
    "runner/": "services/toolrunner/vagus_toolrunner/",
    "approver/": "services/approver/vagus_approver/",
    "relay/": "services/relay/vagus_relay/",
}
"""As docs/architecture.md shortens them."""
PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w.-]+\.\w+)?)(?:::([\w.]+))?`")
LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")
OURS = [name for name in documents.documents() if not name.startswith("docs/adr/")]


def resolved(path: str, document: str) -> Path:
    for short, folder in SHORT.items():
        if path.startswith(short):
            return ROOT / folder / path.removeprefix(short)
    beside = (ROOT / document).parent / path
    return beside if beside.exists() else ROOT / path


@cache
def names(path: Path) -> frozenset[str]:
    """All names that a module defines, methods as both `method` and `Class.method`."""
    found: set[str] = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found.update({name, prefix + name})
                case ast.ClassDef(name=name):
                    found.add(name)
                    visit(node.body, f"{name}.")
                case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                    found.add(name)

    visit(ast.parse(path.read_text()).body, "")
    return frozenset(found)


@pytest.mark.parametrize("document", OURS)
def test_the_files_and_names_that_a_document_names_exist(document: str) -> None:
    for path, name in PATH.findall(documents.text(document)):
        file = resolved(path, document)
        if name or path.endswith((".py", ".md", ".json", ".toml")):
            assert file.exists(), f"{document} names {path}"
        if name:
            assert name in names(file), f"{document} names {path}::{name}"


@pytest.mark.parametrize("document", documents.documents())
def test_the_links_of_a_document_lead_somewhere(document: str) -> None:
    for target, anchor in LINK.findall(documents.text(document)):
        file = (ROOT / document).parent / target
        assert file.exists(), f"{document} links to {target}"
        if anchor and file.is_file():
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor[1:] in {slug(heading) for heading in headings}


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_module_of_the_project_is_in_the_architecture() -> None:
    text = documents.text("docs/architecture.md")
    told = {resolved(path, "docs/architecture.md") for path, _ in PATH.findall(text) if path not in SHORT}
    small = {"__init__.py", "__main__.py", "settings.py"}
    ours = (
        file for short, folder in SHORT.items() if short != "cli/" for file in (ROOT / folder).rglob("*.py")
    )
    left = [file for file in ours if file.name not in small and not {file, file.parent} & told]
    assert [str(file.relative_to(ROOT)) for file in left] == []


@pytest.mark.parametrize("document", OURS)
def test_the_make_targets_that_a_document_names_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", documents.text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", documents.text(document))) <= targets


@pytest.mark.parametrize("document", OURS)
def test_the_settings_that_a_document_names_exist(document: str) -> None:
    from vagus.runtime.settings import describe
    from vagus_approver.settings import Settings as ApproverSettings
    from vagus_kernel.settings import KernelSettings
    from vagus_policygate.settings import Settings as GateSettings
    from vagus_relay.settings import RelaySettings
    from vagus_relay.sinks.settings import SinkSettings
    from vagus_toolrunner.settings import RunnerSettings

    shapes = (ApproverSettings, GateSettings, KernelSettings, RelaySettings, RunnerSettings, SinkSettings)
    known = {setting.variable for shape in shapes for setting in describe(shape)}
    known |= {"VAGUS_NATS_SERVER", "VAGUS_ACTOR", "VAGUS_SINK_DSN"}  # of the CLI
    buckets = {"INBOX", "GATE", "TOOLS", "APPROVALS", "DEAD", "EVENTS", "SESSIONS", "POLICIES", "TICKETS"}
    buckets |= {"TOOLBOX", "CALLS", "MEMBERS", "RETURNS", "SNAPSHOTS", "BLOBS", "SCHEDULES", "S_", "RELAYED"}
    buckets |= {"SUBSCRIPTIONS", "ARCHIVE", "ARCHIVED", "ERASED"}
    for name in re.findall(r"`(VAGUS_[A-Z_]+)", documents.text(document)):
        assert name in known or name.removeprefix("VAGUS_") in buckets, f"{document} names {name}"


@pytest.mark.parametrize("service", ["kernel", "policygate", "toolrunner", "approver", "relay"])
def test_every_service_tells_of_itself_under_the_same_headings(service: str) -> None:
    headings = re.findall(r"^## (.*)$", documents.text(f"services/{service}/README.md"), re.MULTILINE)
    assert headings[:5] == ["owns", "consumes", "produces", "invariants", "on crash"]


@pytest.mark.parametrize("decision", sorted((ROOT / "docs/adr").glob("0*.md")), ids=lambda path: path.stem)
def test_every_decision_has_its_parts_and_is_listed(decision: Path) -> None:
    text = decision.read_text()
    assert re.match(rf"# {decision.stem[:4]} .*\n\nDate: \d{{4}}-\d\d-\d\d · Status: \w+", text)
    parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert parts == ["Context", "Decision", "Consequences", "We would notice that it was wrong"]
    assert "?" in text.partition("## Context")[2].partition("## Decision")[0]
    assert "* Good: " in text
    assert "* Bad: " in text
    assert f"]({decision.name})" in documents.text("docs/adr/README.md")
