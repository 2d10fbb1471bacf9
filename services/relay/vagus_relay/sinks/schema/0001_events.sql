CREATE TABLE events (
    session_id     text        NOT NULL,
    branch_id      text        NOT NULL,
    sequence       bigint      NOT NULL,
    event_id       text        NOT NULL,
    agent_id       text        NOT NULL,
    at             timestamptz NOT NULL,
    type           text        NOT NULL,
    event_type     text,
    actor          text,
    correlation_id text,
    causation_id   text,
    trace_id       text,
    digest         text,
    kind           jsonb       NOT NULL,
    PRIMARY KEY (session_id, branch_id, sequence)
);

COMMENT ON TABLE events IS 'Every event of every session, once. Written by Vagus; rows do not change.';
COMMENT ON COLUMN events.sequence IS 'On the branch, from 1 and without gaps.';
COMMENT ON COLUMN events.at IS 'When it happened, to the microsecond.';
COMMENT ON COLUMN events.type IS 'What happened, such as ToolCallCompleted.';
COMMENT ON COLUMN events.event_type IS 'Of a Custom event: its own name, such as vagus.manifest_set.';
COMMENT ON COLUMN events.correlation_id IS 'The command, such as a tick, that it belongs to.';
COMMENT ON COLUMN events.kind IS 'All that the event says. U+0000, which PostgreSQL cannot keep, is U+FFFD here.';

CREATE INDEX events_by_type ON events (type, at);
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_of_state ON events (session_id, branch_id, sequence DESC)
    WHERE type IN ('StateEstimated', 'ModeChanged', 'BudgetUpdated');
CREATE INDEX events_by_call ON events (session_id, (kind ->> 'call_id'))
    WHERE type IN ('ToolCallRequested', 'ToolCallFailed', 'ApprovalRequested');
CREATE INDEX events_by_approval ON events (session_id, (kind ->> 'approval_id'))
    WHERE type IN ('ApprovalRequested', 'ApprovalResolved');
