"""Who may say what: worked out from the permissions, and as nats-server is told."""

import pytest

from tests.kit.documents import ROOT
from vagus.cli.permissions import configuration
from vagus.contract.messages import Role
from vagus.contract.permissions import Permissions, User, inbox_prefix, permissions
from vagus.contract.subjects import Subjects

SUBJECTS = Subjects()
GRANTED = permissions(SUBJECTS)
TRUSTED = User.OPERATOR


def covers(pattern: str, subject: str) -> bool:
    """Whether a subject is one of those that a pattern stands for, as the server sees it."""
    wanted, said = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(said) > place
        if place >= len(said) or token not in ("*", said[place]):
            return False
    return len(wanted) == len(said)


def who(subject: str, verb: str = "publish") -> set[User]:
    """The users that may, the operator aside."""
    return {
        user
        for user, granted in GRANTED.items()
        if user is not TRUSTED and any(covers(pattern, subject) for pattern in getattr(granted, verb))
    }


@pytest.mark.parametrize(
    ("subject", "users"),
    [
        (SUBJECTS.inbox(Role.COMMAND, "s"), {User.CLIENT, User.KERNEL}),  # a kernel: ticks that have come due
        (SUBJECTS.inbox(Role.VERDICT, "s"), {User.POLICYGATE}),
        (SUBJECTS.inbox(Role.REPORT, "s"), {User.TOOLRUNNER}),
        (SUBJECTS.inbox(Role.RESOLUTION, "s"), {User.APPROVER}),
        (SUBJECTS.log("s", "main"), {User.KERNEL}),
        (SUBJECTS.schedule("s", "x"), {User.KERNEL}),
        (SUBJECTS.gate("s"), {User.KERNEL, User.POLICYGATE}),  # which hands on what it has no room for
        (SUBJECTS.tool("default", "high", "s"), {User.KERNEL}),
        (SUBJECTS.answer("s"), {User.CLIENT, User.APPROVER}),
        (SUBJECTS.event("s", "main", "Kind"), {User.RELAY, User.KERNEL}),  # a kernel: that one was erased
        (SUBJECTS.cancel("run"), {User.KERNEL}),
        (SUBJECTS.drain("kernel", "k"), set()),
        ("$KV.VAGUS_POLICIES.s", {User.KERNEL}),
        ("$KV.VAGUS_TICKETS.t", {User.APPROVER}),
        ("$KV.VAGUS_CALLS.s.r", {User.KERNEL, User.TOOLRUNNER}),
        ("$KV.VAGUS_TOOLBOX.p.t", {User.TOOLRUNNER}),
        (SUBJECTS.verdict("k", "s"), {User.POLICYGATE}),
        (SUBJECTS.report("k", "s"), {User.TOOLRUNNER}),
        ("$KV.VAGUS_MEMBERS.kernel.k", {User.KERNEL}),
        ("$JS.API.STREAM.CREATE.VAGUS_S_s", {User.KERNEL}),
        ("$JS.API.STREAM.DELETE.VAGUS_S_s", {User.KERNEL}),
        ("$JS.API.STREAM.MSG.DELETE.VAGUS_INBOX", {User.KERNEL}),  # of what was said to an erased session
        ("$JS.API.STREAM.LEADER.STEPDOWN.VAGUS_INBOX", set()),
        ("$JS.API.STREAM.MSG.DELETE.VAGUS_DEAD", set()),
        ("$JS.API.CONSUMER.MSG.NEXT.VAGUS_INBOX.commands-0", {User.KERNEL}),
        ("$JS.API.CONSUMER.MSG.NEXT.VAGUS_TOOLS.pool-default-high", {User.TOOLRUNNER}),
        ("$JS.API.CONSUMER.CREATE.VAGUS_S_s.x.vagus.session.s.main", {User.CLIENT, User.RELAY}),
        ("$JS.API.CONSUMER.CREATE.VAGUS_S_s.x.vagus.inbox.0.command.s", set()),
        (
            "$JS.API.CONSUMER.CREATE.VAGUS_EVENTS.x.vagus.event.s.main.Kind",
            {User.CLIENT, User.RELAY, User.SINK},
        ),
        ("$KV.VAGUS_SUBSCRIPTIONS.billing.0", {User.CLIENT, User.RELAY, User.SINK}),
        (SUBJECTS.dead("subscription.s"), {User.CLIENT, User.RELAY, User.SINK}),
        ("$JS.API.CONSUMER.CREATE.VAGUS_GATE.gate.vagus.gate.*", {User.POLICYGATE}),
    ],
)
def test_what_is_said_is_said_by_these_users_alone(subject: str, users: set[User]) -> None:
    assert who(subject) == users


def test_a_sink_may_do_nothing_that_a_client_may_not_but_be_drained() -> None:
    sink, client = GRANTED[User.SINK], GRANTED[User.CLIENT]
    own, boss = (f"{inbox_prefix(user)}.>" for user in (User.SINK, User.OPERATOR))
    assert set(sink.publish) - set(client.publish) == {own, boss}
    assert set(sink.subscribe) == {own, SUBJECTS.drain("sink", "*")}


def test_nobody_hears_what_another_user_is_told() -> None:
    for user in GRANTED:
        assert who(f"{inbox_prefix(user)}.x.y", "subscribe") == {user} - {TRUSTED}


def test_nobody_listens_to_a_stream_where_messages_may_yet_be_refused() -> None:
    for subject in (SUBJECTS.log("s", "main"), SUBJECTS.inbox(Role.COMMAND, "s"), SUBJECTS.answer("s")):
        assert who(subject, "subscribe") == set()


def test_wildcards_are_whole_tokens() -> None:
    for granted in GRANTED.values():
        for pattern in (*granted.publish, *granted.subscribe):
            tokens = pattern.split(".")
            assert all(token in ("*", ">") or not set(token) & set("*>") for token in tokens), pattern
            assert ">" not in tokens[:-1], pattern


def test_nothing_is_granted_twice() -> None:
    for granted in GRANTED.values():
        assert len(set(granted.publish)) == len(granted.publish)
        assert len(set(granted.subscribe)) == len(granted.subscribe)


def test_the_deployed_servers_are_told_so() -> None:
    deployed = (ROOT / "deploy" / "nats" / "users.conf").read_text()
    assert deployed == configuration(GRANTED), "make it anew: vagus permissions > deploy/nats/users.conf"


def test_no_user_may_do_nothing() -> None:
    assert set(GRANTED) == set(User)
    assert Permissions(publish=(), subscribe=()) not in GRANTED.values()
