"""The reference pages of what lies on the disk: shards by their Arrow schemas, bundles by what reads them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

_INTRODUCTION = """# Shards

Everything between recordings and tables lies in folders of Parquet shards, `part-00000.parquet` and on, about
`runtime.shard_minutes` of audio each. Shard *i* of every stage of a corpus holds the same utterances in the same order.
Each file's metadata states its schema version ({version}), the stage and the rates. `dim` is the width of the encoder
or of the speaker's vector.
"""


def shards_page(root: Path) -> str:
    """Return the page of the schemas in ``speech/storage/shards.py``."""
    from speech.storage import shards

    schemas = {name.lower(): value for name, value in vars(shards).items() if isinstance(value, pa.Schema)}
    lines = [_INTRODUCTION.format(version=shards.SCHEMA_VERSION)]
    for name, schema in schemas.items():
        lines += [f"## {name}", "", *_table(schema), ""]
    for maker in (shards.features_schema, shards.speakers_schema):
        title = maker.__name__.removesuffix("_schema")
        lines += [f"## {title}", "", inspect.getdoc(maker) or "", "", *_table(maker(dim=256)), ""]
    return "\n".join(lines)


def bundles_page(root: Path) -> str:
    """Return the page of system bundles: what every one holds, and what each system declares of its own."""
    from respeak import bundle
    from respeak.systems.registry import bundled_names, find

    summary, _, rest = (inspect.getdoc(bundle) or "").partition("\n\n")
    layout, _, remarks = rest.partition("\n\n")
    block = "\n".join(["```text", textwrap.dedent(layout).replace("``", ""), "```"])
    parts = ["# Bundles", summary, block, remarks, "## Every system", *_keys(bundle.EVERY_SYSTEM)]
    for system in map(find, bundled_names()):
        parts += [f"## {system.name}", f"Files: {_listed(system.bundle_files)}.", *_keys(system.bundle_keys)]
        parts += [f"Controls that it takes: {', '.join(sorted(system.takes))}."]
    return "\n\n".join(parts) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _keys(known: Mapping[str, tuple[type, ...]]) -> list[str]:
    """Return a table of keys of ``config.yaml`` with their types."""
    types = {key: " or ".join("null" if kind is type(None) else kind.__name__ for kind in known[key]) for key in known}
    return [
        "\n".join(["| key of `config.yaml` | type |", "|---|---|", *(f"| `{k}` | {v} |" for k, v in types.items())])
    ]


def _table(schema: pa.Schema) -> list[str]:
    rows = [f"| `{field.name}` | {_kind(field)} |" for field in schema]
    return ["| column | type |", "|---|---|", *rows]


def _kind(field: pa.Field) -> str:
    kind = str(field.type).replace("element: ", "").replace("item: ", "").replace("<", " of ").replace(">", "")
    matrix = (field.metadata or {}).get(b"dtype")
    return f"{kind}: rows of `dim` {matrix.decode()}" if matrix else kind.replace("[256]", ", `dim` of them")
