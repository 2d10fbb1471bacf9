"""An executable description of the original, with one switch for each ruling that changes what it tells.

With no ruling it retells the golden traces (test_reference.py holds it to that), so that with the rulings on
it says what our log must be. It knows nothing of the kernel's code.
"""
