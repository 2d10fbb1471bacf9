"""What people see. Imported by the verbs when they print, so that the rest of the command line stays fast."""
