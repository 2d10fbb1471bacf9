"""The rulings that change what the original told of these traces, by their numbers.

Each is a switch of the reference: with all of them off it tells what the original told, with all on what we
must tell. Their order is that in which the differences are looked at, each on top of those before it.
"""

from typing import Final

RULINGS: Final[dict[str, str]] = {
    "W52": "a log whose head cannot be read is not a new session",
    "W50": "attaching restores state, tick count and loop history from the log",
    "W69": "attaching restores branches and merge marks",
    "W27": "tickets outlive a restart",
    "W51": "another policy for an existing session is a Conflict",
    "W53": "creating a session is all or nothing",
    "W54": "session and branch ids are checked",
    "W57": "a side file that cannot be written fails no tick",
    "W63": "an append that failed is settled and made good; no event is lost, none is doubled",
    "W49": "history is not read from the log at every tick, so that no read error empties it",
    "W14": "state and mode are of the branch, not of the session",
    "W74": "loop history is of the branch, and a fork inherits it",
    "W66": "a fork's conversation begins with its parent's",
    "W48": "the conversation does not freeze after 10 000 events",
    "W47": "the objective is sent once: beside the conversation, not in it as well",
    "W62": "one tick at a time on a branch; others wait",
    "W26": "a ticket store that fails neither opens the gate nor breaks the turn",
    "W41": "an error of a guard or of the gate breaks off no turn",
    "W22": "a ticket is resolved in its own session and on its own branch only",
    "W28": "pending tickets hold back their own branch only",
    "W35": "a directory as a tool's path is no fault",
    "W34": "FileMutated only for what a tool declares that it changes",
    "W32": "duration_ms is the reported one",
    "W37": "the kernel makes tool_run_id",
    "W9": "success needs exit 0 and a Success outcome",
    "W38": "a call outside allowed_tools is refused",
    "W39": "capabilities are derived from tool and input as well; the gate looks once",
    "W43": "a call id that was used before is refused",
    "W75": "guards record under their own names",
    "W83": "what only the kernel may say is refused from outside",
    "W21": "an approved call is run, a denied one ends",
    "W3": "a turn without a failure clears the error streak; the breaker trips when the streak crosses",
    "W12": "within a turn ask_human outranks recover, recover the rest",
    "W2": "a new objective wakes a sleeping branch",
    "W11": "every change of mode is told, with the true mode before it",
}
