import subprocess
import sys

import pytest

import vagus


@pytest.mark.parametrize("name", vagus.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(vagus, name) is not None
    assert name in dir(vagus)


def test_public_names_are_sorted_and_told_once() -> None:
    assert sorted(set(vagus.__all__)) == vagus.__all__


def test_errors_share_one_base() -> None:
    for name in vagus.__all__:
        value = getattr(vagus, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, vagus.VagusError)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(vagus, "nothing")  # noqa: B009 -- the checker knows that it is not there


def test_the_decorator_stays_the_decorator_after_its_module_was_imported() -> None:
    import vagus.tools

    assert callable(vagus.tool)


def test_importing_the_command_line_loads_no_client() -> None:
    code = (
        "import sys, vagus.cli.app\n"
        "assert not {'nats', 'anyio', 'opentelemetry', 'vagus.sdk', 'vagus.runtime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
