"""The file of sinks: read whole, refused with one clear line, and never a secret in it."""

from pathlib import Path

import pytest

from tests.kit import documents
from vagus.contract.errors import SettingsError
from vagus_relay.sinks.configuration import ParquetSink, PostgresSink, WebhookSink, read_sinks
from vagus_relay.sinks.secret import Secret

TOML = """
[sinks.audit]
type = "webhook"
url = "https://example.org/hooks"
secrets = [{ env = "NEW" }, { file = "/run/secrets/old" }]
headers = { Authorization = { env = "TOKEN" } }
kinds = ["ApprovalRequested"]
start = "new"

[sinks.warehouse]
type = "postgres"
dsn = { env = "WAREHOUSE" }

[sinks.lake]
type = "parquet"
folder = "/srv/lake"
owner = "ada"
"""


def test_a_toml_file_names_sinks(tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text(TOML)
    sinks = read_sinks(str(file))
    assert list(sinks) == ["audit", "warehouse", "lake"]
    audit, warehouse, lake = sinks.values()
    assert isinstance(audit, WebhookSink)
    assert audit.secrets == (Secret(env="NEW"), Secret(file=Path("/run/secrets/old")))
    assert audit.kinds == ("ApprovalRequested",)
    assert audit.retry_for_s == 24 * 3600
    assert isinstance(warehouse, PostgresSink)
    assert (warehouse.schema, warehouse.migrate) == ("vagus", True)
    assert isinstance(lake, ParquetSink)
    assert (lake.folder, lake.owner) == (Path("/srv/lake"), "ada")


def test_json_is_read_from_a_file_or_as_it_is(tmp_path: Path) -> None:
    text = '{"sinks": {"lake": {"type": "parquet", "folder": "/srv/lake"}}}'
    (tmp_path / "sinks.json").write_text(text)
    assert read_sinks(str(tmp_path / "sinks.json")) == read_sinks(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"sinks": {}}', "no sinks"),
        ('{"sinks": {"a b": {"type": "ndjson", "folder": "x"}}}', "sink 'a b': a name is 1 to 64"),
        ('{"sinks": {"a": {"folder": "x"}}}', "sink a: Object missing required field `type`"),
        ('{"sinks": {"a": {"type": "kafka"}}}', "sink a: Invalid value 'kafka' - at `$.type`"),
        ('{"sinks": {"a": {"type": "ndjson"}}}', "sink a: Object missing required field `folder`"),
        ('{"sinks": {"a": {"type": "ndjson", "folder": 3}}}', "sink a: Expected a path - at `$.folder`"),
        ('{"sinks": {"a": {"type": "ndjson", "folder": "x", "fodler": 1}}}', "unknown field `fodler`"),
        ('{"sinks": {"a": {"type": "webhook", "url": "https://x", "secrets": []}}}', "`$.secrets`"),
        ('{"sinks": {"a": {"type": "postgres", "dsn": {}}}}', 'give a secret as { env = "NAME" }'),
        ('{"sinks": {"a": {"type": "postgres", "dsn": {"env": "X"}, "schema": "x\\"; drop"}}}', "`$.schema`"),
        ('{"sinks": {"a": {"type": "postgres", "dsn": "postgresql://me:pw@h/d"}}}', "`$.dsn`"),
        (
            '{"sinks": {"a": {"type": "ndjson", "folder": "x", "format": "cloudevents-binary"}}}',
            "use cloudevents",
        ),
        ('{"sinks": {', "the sinks given: "),
    ],
)
def test_what_is_wrong_is_told_with_sink_and_field(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_sinks(text)
    assert told in raised.value.message
    assert "pw" not in raised.value.message


@pytest.mark.parametrize(
    "block", documents.blocks("docs/sinks.md", "toml"), ids=lambda block: block.text[:20]
)
def test_the_files_in_the_document_can_be_read(block: documents.Block, tmp_path: Path) -> None:
    (tmp_path / "sinks.toml").write_text(block.text)
    assert read_sinks(str(tmp_path / "sinks.toml"))


def test_the_printed_sink_is_that_of_the_examples() -> None:
    (block,) = [block for block in documents.blocks("docs/sinks.md", "python") if block.title]
    assert block.text in (documents.ROOT / "examples" / f"{block.title}.py").read_text()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the file of sinks .*nowhere\.toml"):
        read_sinks(str(tmp_path / "nowhere.toml"))


def test_a_secret_is_read_from_where_it_is_kept(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" hush\n")
    assert Secret(file=tmp_path / "secret").read({}) == "hush"
    assert Secret(env="NAME").read({"NAME": "hush"}) == "hush"


@pytest.mark.parametrize("environ", [{}, {"NAME": " "}])
def test_a_secret_that_is_missing_is_told_by_its_place(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="environment variable NAME is missing or empty"):
        Secret(env="NAME").read(environ)
    with pytest.raises(SettingsError, match="cannot read the secret in file"):
        Secret(file=tmp_path / "none").read(environ)
