"""The approver: keeps approval tickets, takes people's answers to them, and lets them time out."""
