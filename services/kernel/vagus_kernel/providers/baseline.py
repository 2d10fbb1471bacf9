"""The deterministic offline provider, as the original's (fact sheet 3.4)."""

from vagus.contract.models import (
    CallTool,
    Message,
    ModelCompletion,
    ModelCompletionRequest,
    TextDelta,
    TokenUsage,
)

_USAGE = TokenUsage(prompt_tokens=8, completion_tokens=12, total_tokens=20)


class Baseline:
    """Says what it is told."""

    name = "baseline"

    async def complete(self, request: ModelCompletionRequest) -> ModelCompletion:
        """Echo the proposed tool, else answer with the objective."""
        if request.proposed_tool is not None:
            return ModelCompletion(
                provider="baseline",
                model="baseline-deterministic",
                directives=(CallTool(call=request.proposed_tool),),
                stop_reason="tool_call",
                usage=_USAGE,
            )
        return ModelCompletion(
            provider="baseline",
            model="baseline-deterministic",
            directives=(
                Message(role="assistant", content=f"working on: {request.objective}"),
                TextDelta(delta=" done", index=0),
            ),
            stop_reason="completed",
            usage=_USAGE,
            final_answer=f"objective received: {request.objective}",
        )
