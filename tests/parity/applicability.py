"""Traces about what does not exist here, or not in the core; and what is compared of them all the same."""

from typing import Final

NOT_PLAYED: Final = {
    "checkpoint_every_0_panics": "W56: the setting is refused, so that no tick can meet it",
}
"""They cannot be played at all."""

WITHOUT_THE_FAULT: Final = {
    "approval_enqueue_error": "W26: a ticket is an event of the log first; asking people is repeated",
    "approval_list_pending_error": "W26: tickets are folded from the log, nobody is asked for them",
    "branch_create_append_error": "W63, W68: a commit is stored whole, and repeated until it is",
    "branch_merge_append_error": "W63, W68: as before",
    "history_read_error": "W49: the conversation is folded as the log grows, nothing is read at a tick",
    "policy_evaluate_error": "W41: a gate that does not answer is asked again, and the call waits",
    "session_attach_head_error": "W52: a session is loaded from its log or not at all",
    "session_policy_set_error": "W53: the policy is an event of the first commit",
    "store_append_and_head_fail": "W63: a commit is repeated until it is settled",
    "store_append_fails_at_each_point": "W63: as before",
    "store_append_fails_once": "W63: as before",
    "store_append_written_but_error": "W63: a lost acknowledgement is settled by reading",
    "store_blank_lines": "N8: a log has no lines between its commits",
    "store_outside_writer": "W63: every commit is fenced by the log's end",
    "store_tool_effect_lost_on_append_error": "W63: a report stays at its runner until its commit is stored",
    "store_torn_last_line_restart": "N8: no line can be torn",
    "store_torn_line_same_process": "N8: no line can be torn",
    "store_two_runtimes_one_log": "W63: two kernels on one session are fenced against each other",
    "workspace_gone": "W57: side files are written outside of the tick",
    "workspace_state_is_a_file": "W57: side files are written outside of the tick",
}
"""Their fault strikes below or beside the core. They are played without it, and must tell what is ruled then.
The faults that can happen here are met by the tests of the log (tests/conformance) and by tests/fault."""

REFUSED_SETTINGS: Final = {
    "circuit_breaker_zero": "VAGUS_CIRCUIT_BREAKER_ERRORS is at least 1",
    "loop_window_smaller_than_limit": "W73: warning, hard stop and window must not fall in this order",
    "loop_window_zero": "W73: the window is at least 2",
}
"""The core is played with settings that a kernel would refuse at its start."""

NOT_RETOLD: Final = {
    "store_torn_last_line_restart": "of what the original tells from the torn line on",
    "store_torn_line_same_process": "of what the original tells from the torn line on",
    "store_two_runtimes_one_log": "of what two runtimes tell that number their events alike",
}
"""The reference knows nothing of these; they are only played without their fault."""

NOT_LIVE: Final = {
    **NOT_PLAYED,
    **WITHOUT_THE_FAULT,
    **REFUSED_SETTINGS,
    "approval_resolve_from_other_session": "W22: a client answers a ticket by its id and names no session",
    "approval_resolve_unknown_session_consumes": "W22: as before",
    "history_10k_event_cap": "10 000 commands one after the other would take half a minute",
    "inline_tool_nonzero_exit_success_outcome": "W9: a tool cannot contradict itself",
    "inline_tool_path_odd_values": "W9: as before",
    "inline_tool_report_names_differ": "W37: a runner reports under the names it was asked with",
    "session_id_with_slash": "W54: a client refuses such an id itself, before it asks",
}
"""These are not played through live services; all others are."""
