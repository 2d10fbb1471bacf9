from hypothesis import settings

# A busy machine is slow, not wrong: examples are bounded by number, not by time.
settings.register_profile("vagus", deadline=None, print_blob=True)
settings.load_profile("vagus")
