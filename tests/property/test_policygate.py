"""What holds for every path, policy and capability."""

from hypothesis import example, given
from hypothesis import strategies as st

from vagus.contract.messages import GateRequest
from vagus.contract.paths import workspace_parts
from vagus.contract.policy import PolicySet, matches
from vagus.contract.policy import evaluate as by_session
from vagus.contract.tools import ToolCall, ToolDefinition
from vagus_policygate.capabilities import workspace_path
from vagus_policygate.evaluate import KnownTool, OrganisationPolicy, evaluate

PATHS = st.text(st.sampled_from("./a\\\0\n:*é"), max_size=20) | st.text(max_size=20)
WORDS = st.sampled_from(["*", "**", "a", "b", "a:*", "b:x", "fs:read:/session/a", "fs:read:/session/**"])
PATTERNS = st.lists(WORDS, max_size=4).map(tuple)
POLICIES = st.builds(
    PolicySet,
    allow_capabilities=PATTERNS,
    gate_capabilities=PATTERNS,
    max_tool_runtime_secs=st.integers(1, 60),
    max_events_per_turn=st.just(256),
)
ORGANISATIONS = st.builds(
    OrganisationPolicy,
    allow_capabilities=PATTERNS,
    deny_capabilities=PATTERNS,
    gate_capabilities=PATTERNS,
    max_tool_runtime_secs=st.none() | st.integers(1, 60),
)
TEMPLATES = st.lists(st.sampled_from(["fs:read:{path}", "a:{x}", "b:x", "a"]), max_size=3).map(tuple)
INPUTS = st.dictionaries(st.sampled_from(["path", "x"]), st.none() | PATHS | st.lists(PATHS, max_size=3))


def request(declared: tuple[str, ...], arguments: object) -> GateRequest:
    call = ToolCall(tool_name="t", input=arguments, requested_capabilities=declared)
    return GateRequest(
        effect_id="e",
        attempt=1,
        session_id="s",
        branch_id="main",
        tool_run_id="r",
        call=call,
        policy_version=1,
    )


@given(PATHS)
@example("a/../b")
@example("..")
@example("\0")
def test_a_path_is_matched_only_if_it_names_what_the_runner_opens(path: str) -> None:
    named = workspace_path(path)
    assert named.startswith("/session/")
    if matches("*", f"fs:read:{named}"):
        parts = workspace_parts(path)
        assert parts is not None
        assert named == "/session/" + "/".join(parts)
        assert ".." not in path.split("/")


@given(POLICIES, ORGANISATIONS, PATTERNS, TEMPLATES, INPUTS)
def test_an_organisation_only_takes_away(
    policy: PolicySet,
    organisation: OrganisationPolicy,
    declared: tuple[str, ...],
    templates: tuple[str, ...],
    arguments: dict[str, object],
) -> None:
    tool = KnownTool(ToolDefinition(name="t", capabilities=templates))
    asked = request(declared, arguments)
    without = evaluate(asked, tool, policy, OrganisationPolicy(), {})
    judged = evaluate(asked, tool, policy, organisation, {})
    before, after = without.verdict, judged.verdict
    assert set(after.allowed) <= set(before.allowed)
    assert set(after.denied) >= set(before.denied)
    assert judged.timeout_secs <= without.timeout_secs
    assert not (judged.positive and not without.positive)


@given(POLICIES, PATTERNS, TEMPLATES, INPUTS)
def test_every_capability_is_in_one_list_and_a_grant_has_them_all(
    policy: PolicySet, declared: tuple[str, ...], templates: tuple[str, ...], arguments: dict[str, object]
) -> None:
    tool = KnownTool(ToolDefinition(name="t", capabilities=templates))
    judged = evaluate(request(declared, arguments), tool, policy, OrganisationPolicy(), {})
    said = judged.verdict
    every = [*said.allowed, *said.requires_approval, *said.denied]
    assert len(every) == len(set(every))
    assert set(declared) <= set(every)
    assert judged.positive == (not said.requires_approval and not said.denied)
    assert said.explanation.isprintable()


@given(POLICIES, PATTERNS)
def test_without_templates_and_organisation_it_says_what_the_original_says(
    policy: PolicySet, declared: tuple[str, ...]
) -> None:
    tool = KnownTool(ToolDefinition(name="t"))
    said = evaluate(request(declared, {}), tool, policy, OrganisationPolicy(), {}).verdict
    wanted = by_session(policy, declared)
    assert (said.allowed, said.requires_approval, said.denied) == (
        wanted.allowed,
        wanted.requires_approval,
        wanted.denied,
    )
