"""What `vagus demo` shows: its program, its stage, and the model's lines (`script.json`)."""
