"""A middleware and a guard: `PYTHONPATH=examples VAGUS_MIDDLEWARES=house_rules:house_rules vagus up`.

A middleware is called around every turn. What it changes before is what the turn begins with; what it returns
is the tick's output. A guard judges every tool call before the policy gate does.
"""

import re

import msgspec

import vagus
from vagus.contract.extensions import GuardDecision
from vagus_kernel.middleware import Next, TurnContext, allow, block, warn

SECRET = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----")
"""What looks like a credential."""
LONG_BYTES = 16 * 1024


class NoSecrets:
    """Stops calls whose input holds what looks like a credential, and warns of very long ones."""

    name = "no_secrets"

    async def on_tool_call(self, ctx: TurnContext, call: vagus.ToolCall) -> GuardDecision:
        """Recorded as `no_secrets.hard_stop` or `no_secrets.warning`, and told to the model."""
        text = msgspec.json.encode(call.input).decode()
        if SECRET.search(text):
            return block(f"the input of {call.tool_name} holds a credential: leave it out")
        if len(text) > LONG_BYTES:
            return warn(f"the input of {call.tool_name} is very long: put it into a file")
        return allow()


async def house_rules(ctx: TurnContext, proceed: Next) -> vagus.TickOutput:
    """Refuse sessions without an owner, tell the model its manners, and watch its calls."""
    if not ctx.manifest.owner:
        raise vagus.Refused("a session needs an owner here")
    if ctx.input.system_prompt is None:
        prompt = f"You work for {ctx.manifest.owner}. Say what you are about to do before you do it."
        ctx.input = msgspec.structs.replace(ctx.input, system_prompt=prompt)
    ctx.guards.append(NoSecrets())
    return await proceed(ctx)
