"""The JSON schema that editors read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wanlab.topology.document import json_schema
from wanlab.topology.nat import NATS

PUBLISHED = Path(__file__).parents[2] / "schema" / "wanlab.schema.json"


def tables(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "the lab", schema
    yield from schema["$defs"].items()


def test_the_published_schema_is_that_of_the_code() -> None:
    told = "write it anew: python -m wanlab.topology.document > schema/wanlab.schema.json"
    assert json.loads(PUBLISHED.read_text("utf-8")) == json_schema(), told


def test_no_table_takes_unknown_keys() -> None:
    assert all(table["additionalProperties"] is False for _, table in tables(json_schema()))


def test_every_key_is_described() -> None:
    for name, table in tables(json_schema()):
        assert table["description"], name
        for key, value in table["properties"].items():
            assert len(value["description"]) > 10, f"{key} of {name}"


def test_the_schema_offers_every_nat() -> None:
    assert json_schema()["$defs"]["Nat"]["properties"]["preset"]["enum"] == list(NATS)
