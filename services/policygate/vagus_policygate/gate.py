"""The gate: gate requests in, verdicts out."""

from collections.abc import Callable

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.approvals import ApprovalTicket
from vagus.contract.errors import Malformed
from vagus.contract.ids import check_id
from vagus.contract.messages import ANSWER_TO, NOT_STORED, GateRequest, Role, Verdict, decode
from vagus.contract.policy import PolicyDecisionKind
from vagus.contract.streams import POLICIES, TICKETS, TOOLBOX, gate_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime import clock, faults, telemetry
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.grants import GrantSigner
from vagus.runtime.intake import intake
from vagus.runtime.members import Lease
from vagus.runtime.queue import ACK_S, Delivery
from vagus.runtime.telemetry import Span
from vagus.runtime.toolbox import Toolbox
from vagus_policygate.evaluate import OrganisationPolicy, evaluate, grant_for
from vagus_policygate.policies import Policies
from vagus_policygate.settings import Settings, read_organisation
from vagus_policygate.tools import Tools

VERDICT_STORED = "policygate.verdict_stored"
"""Fault point: the verdict is stored, or on its way to the kernel, and the request is not acknowledged."""

KIND = "policygate"


async def serve(bus: Bus, settings: Settings, draining: anyio.Event, *, started: Callable[[], None]) -> None:
    """Judge requests until `draining` is set; those in hand are finished."""
    subjects = settings.subjects
    policies = Policies(Bucket(bus, subjects.named(POLICIES)))
    signer = GrantSigner.from_file(settings.grant_seed_file)
    organisation = read_organisation(settings.organisation_policy)
    hints = await bus.subscribe_callback(
        subjects.writes(POLICIES), lambda message: policies.forget(Subjects.last_token(message.subject))
    )
    forget_hook = bus.on_reconnect(policies.forget_all)
    try:
        async with (
            Toolbox(bus, subjects) as toolbox,
            Lease(bus, subjects, f"{KIND}.{settings.instance}", {"public_key": signer.public_key}),
        ):
            gate = Gate(
                bus=bus,
                organisation=organisation,
                policies=policies,
                signer=signer,
                subjects=subjects,
                tickets=Bucket(bus, subjects.named(TICKETS)),
                tools=Tools(toolbox, Bucket(bus, subjects.named(TOOLBOX))),
            )
            async with intake(
                bus,
                subjects,
                gate_consumer(subjects),
                gate.handle,
                capacity=settings.gate_concurrency,
                kind=KIND,
                patience_s=limits.EFFECT_RETRY_S,  # by then the kernel has asked anew
            ):
                started()
                await draining.wait()
    finally:
        forget_hook()
        with anyio.move_on_after(1, shield=True):
            await hints.unsubscribe()


class Gate:
    """Judges requests. Holds nothing that another gate could not read for itself."""

    def __init__(
        self,
        *,
        bus: Bus,
        organisation: OrganisationPolicy,
        policies: Policies,
        signer: GrantSigner,
        subjects: Subjects,
        tickets: Bucket,
        tools: Tools,
    ) -> None:
        self._bus = bus
        self._organisation = organisation
        self._policies = policies
        self._signer = signer
        self._subjects = subjects
        self._tickets = tickets
        self._tools = tools

    async def handle(self, delivery: Delivery) -> None:
        """Answer one request. Idempotent: the same attempt stores its verdict once."""
        request = decode(delivery.data, GateRequest)
        session = Subjects.last_token(delivery.subject)
        if request.session_id != session:
            raise Malformed(f"a request of session {request.session_id} among those of {session}")
        span = telemetry.start_span(telemetry.EVALUATE_POLICY, parent=telemetry.extract(delivery.headers))
        try:
            verdict = await self.judge(request)
            if telemetry.enabled:
                _describe(span, request, verdict)
            await self._tell(request, verdict, delivery.headers.get(ANSWER_TO), span.context)
        finally:
            span.end()
        faults.hit(VERDICT_STORED)

    async def _tell(
        self, request: GateRequest, verdict: Verdict, kernel: str | None, context: str | None
    ) -> None:
        """Straight to the kernel that waits for it, which asks anew if it gets lost; else by the inbox."""
        subjects, data = self._subjects, msgspec.json.encode(verdict)
        headers = {"Nats-Msg-Id": f"{request.effect_id}.{request.attempt}"}
        telemetry.inject(headers, context)
        inbox = subjects.inbox(Role.VERDICT, request.session_id)
        if kernel is None or self._bus.forbids(subjects.verdict(check_id("kernel", kernel), "")):
            await self._bus.store(inbox, data, headers=headers)
            return
        await self._bus.publish(subjects.verdict(kernel, request.session_id), data, headers=headers)
        # Whoever listens there hears it as ever; it goes out with the request's ack.
        self._bus.send(inbox, data, headers=headers | NOT_STORED, within_s=ACK_S)

    async def judge(self, request: GateRequest) -> Verdict:
        """The verdict on a request, signed if it is positive.

        Raises:
            Unavailable: The policy it names is not published, or a bucket cannot be read.
        """
        tool = await self._tools.find(request.call.tool_name)
        policy = await self._policies.at_least(request.session_id, request.policy_version)
        tickets = {} if not request.tickets else await self._read_tickets(request)
        judgement = evaluate(request, tool, policy, self._organisation, tickets)
        if not judgement.positive:
            return judgement.verdict
        grant = self._signer.sign(grant_for(request, judgement, clock.now_ms()))
        return msgspec.structs.replace(judgement.verdict, grant=grant)

    async def _read_tickets(self, request: GateRequest) -> dict[str, ApprovalTicket]:
        """The tickets that a request names, as far as they exist; from the leader, as replicas lag."""
        found = {}
        for ticket_id in request.tickets:
            try:
                key = f"{request.session_id}.{check_id('approval id', ticket_id)}"
                entry = await self._tickets.get(key, fresh=True)
                if entry is not None:
                    found[ticket_id] = decode(entry.value, ApprovalTicket)
            except Malformed:
                continue  # one that is not there denies the call
        return found


def _describe(span: Span, request: GateRequest, verdict: Verdict) -> None:
    span.set(telemetry.SESSION_ID, request.session_id)
    span.set(telemetry.BRANCH_ID, request.branch_id)
    span.set(telemetry.TOOL_NAME, request.call.tool_name)
    span.set(telemetry.TOOL_CALL_ID, request.call.call_id)
    span.set(telemetry.TOOL_RUN_ID, request.tool_run_id)
    span.set(telemetry.POLICY_VERSION, request.policy_version)
    span.set(telemetry.POLICY_RULE, verdict.rule_id)
    span.set(telemetry.POLICY_DECISION, _decision(verdict))


def _decision(verdict: Verdict) -> str:
    if verdict.grant is not None:
        return PolicyDecisionKind.ALLOW
    if verdict.requires_approval and not verdict.denied:
        return PolicyDecisionKind.REQUIRE_APPROVAL
    return PolicyDecisionKind.DENY
