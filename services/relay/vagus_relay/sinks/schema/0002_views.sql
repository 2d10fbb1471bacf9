CREATE VIEW sessions AS
SELECT
    created.session_id,
    created.kind #>> '{data,manifest,owner}' AS owner,
    created.at                               AS created_at,
    state.mode,
    closed.at                                AS closed_at,
    latest.at                                AS last_event_at
FROM events AS created
LEFT JOIN LATERAL (
    SELECT coalesce(event.kind ->> 'to', event.kind ->> 'mode') AS mode
    FROM events AS event
    WHERE event.session_id = created.session_id AND event.branch_id = 'main'
      AND event.type IN ('StateEstimated', 'ModeChanged')
    ORDER BY event.sequence DESC
    LIMIT 1
) AS state ON true
LEFT JOIN LATERAL (
    SELECT event.at
    FROM events AS event
    WHERE event.session_id = created.session_id AND event.branch_id = 'main'
    ORDER BY event.sequence DESC
    LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT event.at
    FROM events AS event
    WHERE event.session_id = created.session_id AND event.type = 'SessionClosed'
    ORDER BY event.at DESC
    LIMIT 1
) AS closed ON true
WHERE created.type = 'Custom' AND created.event_type = 'vagus.manifest_set'
  AND created.branch_id = 'main' AND created.sequence <= 2;

COMMENT ON VIEW sessions IS 'One row a session. mode is that of its main branch; closed_at is null while it is open.';

CREATE VIEW sessions_by_mode AS
SELECT
    CASE WHEN closed_at IS NOT NULL THEN 'closed' ELSE coalesce(mode, 'new') END AS mode,
    count(*)           AS sessions,
    max(last_event_at) AS last_event_at
FROM sessions
GROUP BY 1;

COMMENT ON VIEW sessions_by_mode IS 'How many sessions do what; new: no tick has begun yet.';

CREATE VIEW spending AS
WITH accounts AS (
    SELECT
        session_id, branch_id, sequence, at, type,
        (coalesce(kind #> '{budget}', kind #> '{state,budget}') ->> 'cost_remaining_usd')::double precision
            - coalesce(sum((kind #>> '{data,extension,cost_usd}')::double precision)
                       FILTER (WHERE type = 'Custom') OVER line, 0) AS cost,
        (coalesce(kind #> '{budget}', kind #> '{state,budget}') ->> 'tokens_remaining')::bigint
            - coalesce(sum((kind #>> '{data,extension,tokens}')::bigint)
                       FILTER (WHERE type = 'Custom') OVER line, 0) AS tokens
    FROM events
    WHERE type IN ('StateEstimated', 'BudgetUpdated')
       OR (type = 'Custom' AND event_type = 'vagus.budget_extended')
    WINDOW line AS (PARTITION BY session_id, branch_id ORDER BY sequence)
),
steps AS (
    SELECT
        session_id, branch_id, sequence, at, type,
        greatest(lag(cost) OVER line - cost, 0)     AS cost_usd,
        greatest(lag(tokens) OVER line - tokens, 0) AS tokens
    FROM accounts
    WHERE type <> 'Custom'
    WINDOW line AS (PARTITION BY session_id, branch_id ORDER BY sequence)
)
SELECT session_id, branch_id, sequence, at,
       coalesce(cost_usd, 0) AS cost_usd, coalesce(tokens, 0) AS budget_tokens,
       0 AS turns, 0::bigint AS prompt_tokens, 0::bigint AS completion_tokens
FROM steps
UNION ALL
SELECT session_id, branch_id, sequence, at, 0, 0, 1,
       coalesce((kind #>> '{usage,prompt_tokens}')::bigint, 0),
       coalesce((kind #>> '{usage,completion_tokens}')::bigint, 0)
FROM events
WHERE type = 'RunFinished';

COMMENT ON VIEW spending IS
    'What each step took: cost and tokens by which a budget shrank, and tokens that models reported.';

CREATE VIEW spending_by_owner_and_day AS
SELECT
    sessions.owner,
    (spending.at AT TIME ZONE 'UTC')::date  AS day,
    count(DISTINCT spending.session_id)     AS sessions,
    sum(spending.turns)                     AS turns,
    sum(spending.prompt_tokens)::bigint     AS prompt_tokens,
    sum(spending.completion_tokens)::bigint AS completion_tokens,
    sum(spending.budget_tokens)::bigint     AS budget_tokens,
    round(sum(spending.cost_usd)::numeric, 4) AS cost_usd
FROM spending
JOIN sessions USING (session_id)
GROUP BY 1, 2;

COMMENT ON VIEW spending_by_owner_and_day IS 'Cost and tokens, by the owner of the session and the day in UTC.';

CREATE VIEW tool_latency AS
SELECT
    kind ->> 'tool_name'                         AS tool,
    count(*)                                     AS calls,
    count(*) FILTER (WHERE kind ->> 'status' <> 'ok') AS not_ok,
    round((percentile_cont(0.50) WITHIN GROUP (ORDER BY (kind ->> 'duration_ms')::double precision))::numeric, 1)
        AS p50_ms,
    round((percentile_cont(0.95) WITHIN GROUP (ORDER BY (kind ->> 'duration_ms')::double precision))::numeric, 1)
        AS p95_ms,
    round((percentile_cont(0.99) WITHIN GROUP (ORDER BY (kind ->> 'duration_ms')::double precision))::numeric, 1)
        AS p99_ms,
    max((kind ->> 'duration_ms')::bigint)        AS longest_ms
FROM events
WHERE type = 'ToolCallCompleted'
GROUP BY 1;

COMMENT ON VIEW tool_latency IS 'How long tools ran, from their start at the runner to their end, over all time.';

CREATE VIEW denied_calls AS
SELECT
    event.at, event.session_id, event.branch_id, event.sequence,
    event.kind ->> 'tool_name'   AS tool,
    'policy'                     AS denied_by,
    event.kind ->> 'rule_id'     AS rule,
    event.kind ->> 'explanation' AS reason
FROM events AS event
WHERE event.type = 'PolicyEvaluated' AND event.kind ->> 'decision' = 'deny'
UNION ALL
SELECT
    event.at, event.session_id, event.branch_id, event.sequence,
    asked.kind ->> 'tool_name',
    CASE event.kind ->> 'decision' WHEN 'timeout' THEN 'nobody' ELSE 'person' END,
    asked.kind ->> 'capability',
    event.kind ->> 'reason'
FROM events AS event
JOIN events AS asked
  ON asked.session_id = event.session_id AND asked.type = 'ApprovalRequested'
 AND asked.kind ->> 'approval_id' = event.kind ->> 'approval_id'
WHERE event.type = 'ApprovalResolved' AND event.kind ->> 'decision' <> 'approved';

COMMENT ON VIEW denied_calls IS
    'Calls that did not run because policy, a person or (its time ran out) nobody allowed them.';

CREATE VIEW approvals_waiting AS
SELECT
    asked.at AS asked_at,
    now() - asked.at AS age,
    asked.session_id, asked.branch_id,
    asked.kind ->> 'approval_id' AS approval_id,
    asked.kind ->> 'tool_name'   AS tool,
    asked.kind ->> 'capability'  AS capability,
    asked.kind ->> 'risk'        AS risk,
    asked.kind ->  'arguments'   AS arguments
FROM events AS asked
WHERE asked.type = 'ApprovalRequested'
  AND NOT EXISTS (
    SELECT FROM events AS answer
    WHERE answer.session_id = asked.session_id AND answer.type = 'ApprovalResolved'
      AND answer.kind ->> 'approval_id' = asked.kind ->> 'approval_id'
  )
  AND NOT EXISTS (
    SELECT FROM events AS ended
    WHERE ended.session_id = asked.session_id AND ended.branch_id = asked.branch_id
      AND ended.type = 'ToolCallFailed' AND ended.sequence > asked.sequence
      AND ended.kind ->> 'call_id' = asked.kind ->> 'call_id'
  );

COMMENT ON VIEW approvals_waiting IS 'Tickets that nobody has answered; those of a call that has ended are withdrawn.';
