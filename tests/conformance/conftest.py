import pytest

pytest.register_assert_rewrite("tests.conformance.event_log_suite")
