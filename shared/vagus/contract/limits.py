"""Every number that bounds something, with its unit and its reason."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

BLOB_BYTES: Final = 64 * KIB
"""A tool's output whose JSON is longer is stored as a blob and named in its place. Arguments, and what models
say, stand in events as they are: gate, runner, people and the next model call need them word for word."""
OBJECTIVE_BYTES: Final = 256 * KIB
"""A longer objective is refused: it is in every model request from then on."""
COMMAND_BYTES: Final = 512 * KIB
"""A longer command is refused by the SDK before it is sent; nats-server's default max_payload is 1 MiB."""
TOOL_OUTPUT_BYTES: Final = 64 * KIB
"""Of each of stdout and stderr; what is beyond is cut while it is read."""
FILE_READ_BYTES: Final = 512 * KIB
"""A longer file is refused by fs.read; the report must fit one message."""
ARGUMENTS_BYTES: Final = COMMAND_BYTES
"""A call whose input's JSON is longer fails: it is in events, requests and tickets, each of one message."""
COMPLETION_BYTES: Final = 4 * MIB
"""A model's answer whose JSON is longer ends its turn: it would be in the state for HISTORY_TURNS turns."""
REPORT_BYTES: Final = 768 * KIB
"""A tool's output whose report would be longer becomes a failure that says so."""
OUTPUT_BYTES: Final = 8 * MIB
"""A tool's output whose JSON is longer becomes a failure; what is over BLOB_BYTES is stored as a blob."""
PROGRESS_BYTES: Final = 64 * KIB
"""Of one piece of a tool's progress; a longer one is refused where it is made."""
JSON_DEPTH: Final = 128
"""Nesting of one event, as in the original. What is deeper is refused before it is written: a reader runs out
of stack at about 900, and the log must never hold what cannot be read back."""

QUEUED_TICKS: Final = 64
"""Ticks that wait on one branch; the next is refused as Busy."""
HISTORY_TURNS: Final = 50
"""Conversation turns kept in state, as in the original."""
REMEMBERED_IDS: Final = 1000
"""Command ids and call ids kept for de-duplication."""
BRANCHES: Final = 1000
"""Of one session, merged ones included: each is in its state, its snapshots and its entry in the registry."""
COMMAND_ID_CHARS: Final = 128
"""Command ids are chosen by clients and remembered."""
INBOX_CHARS: Final = 256
"""Of the subject a reply is asked for at: the server ends a connection for a protocol line of 4 KiB."""
TOOL_CALLS_INFLIGHT: Final = 8
"""Tool requests of one session on the queue at a time (VAGUS_SESSION_INFLIGHT)."""

SCHEDULES: Final = 100
"""Of one session: all of them are listed in one reply, and the server keeps each in its memory."""
SCHEDULED_BYTES: Final = 64 * KIB
"""Of a scheduled tick: it may wait for months, and all of a session's are read to list them."""
SCHEDULE_AHEAD_S: Final = 366 * 24 * 3600.0
"""How far ahead a tick may be: a year and a day. What is later is rather a slip of the pen."""
SCHEDULE_EVERY_S: Final = 1.0
"""The shortest interval; nats-server's own limit."""
DUE_HELD: Final = 64
"""Ticks that are due and on their way to the inbox, in one process."""

EVENTS_AGE_S: Final = 30 * 24 * 3600.0
"""How long the firehose keeps an event, unless one says otherwise; the session's log keeps it for good."""

INBOX_PARTITIONS: Final = 32
ACK_WAIT_S: Final = 5.0
"""A message without an ack or a sign of progress for this long is delivered again."""
PROGRESS_S: Final = 1.5
"""How often work in progress is told: thrice within ACK_WAIT_S."""
MAX_DELIVERIES: Final = 5
"""At this delivery, since it was last given back in good order, a message is given up to the dead letters."""
EFFECT_RETRY_S: Final = 10.0
"""An owed effect without an answer or a heartbeat for this long is performed again."""
HAND_OVER_S: Final = 1.0
"""A report that a kernel has not taken for this long after it was told straight is stored in the inbox."""
STARTED_AFTER_S: Final = 0.5
"""A tool that runs longer is reported as started; the log has it within a second of its start."""
HEARTBEAT_S: Final = 3.0
"""How often a running tool is reported as started again."""
DEADLINE_GRACE_S: Final = 5.0
"""How much longer than the deadline the kernel waits for a report."""
GRANT_SLACK_S: Final = 60.0
"""A grant outlives its tool's timeout by this: the request may wait on the queue, and clocks differ."""
APPROVAL_TIMEOUT_S: Final = 3600.0
"""A ticket nobody answers times out (RULINGS W27)."""
REQUEST_TIMEOUT_S: Final = 5.0
"""Of one request to the server: publish, key-value, stream management."""
REPLY_TIMEOUT_S: Final = 10.0
"""Of a command that is not a tick; afterwards the outcome is unknown."""
MEMBER_LEASE_S: Final = 5.0
"""A process that has not renewed its lease for this long is taken for dead."""
MEMBER_RENEW_S: Final = 1.5
SNAPSHOT_EVENTS: Final = 500
"""A session's snapshot is at most this many events behind its log."""
PROJECTION_S: Final = 1.0
"""The registry's entry of a session is written at most this often."""
DEAD_LETTER_AGE_S: Final = 14 * 24 * 3600
DUPLICATE_WINDOW_S: Final = 120
"""Within it a message id is stored once."""
ERASE_SETTLE_S: Final = 5.0
"""After it, what is left of an erased session is looked for again: whoever had something of it in hand, or
was to have it again (ACK_WAIT_S), has put it down."""
STOP_GRACE_S: Final = 5.0
"""What a process may take to finish its work after the first signal."""
MAX_PAYLOAD_BYTES: Final = 1 * MIB
"""nats-server's default; the embedded server's as well."""

SUBSCRIPTION_PARTITIONS: Final = 16
"""So many processes can share a durable subscription at most; each share costs a write a second."""
FILTER_SUBJECTS: Final = 100
"""What a subscription asks of the server is compared with each event; beyond this it sifts by itself."""
PREFETCH: Final = 1000
"""Events that a subscription holds and that are not acknowledged."""
CHECKPOINT_S: Final = 1.0
"""How often a durable subscription writes down how far it is: so much comes twice after a crash, at most."""
