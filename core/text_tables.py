"""Rows of Parquet files, in which most data sets of the Hub come: batch by batch, only the columns of texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.text_rows import KEYS, BadRow

TABLE = ".parquet"
# Rows that are held at once, and bytes of the file.
BATCH, BUFFER = 64, 1 << 20


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Each row as the values of those of its columns that texts are in.

    Raises OSError, and BadRow where it is no Parquet file, is damaged, or has no such column.
    """
    import pyarrow  # takes a while to import
    from pyarrow.parquet import ParquetFile

    with path.open("rb") as file:
        try:
            table = ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
            columns = [name for name in table.schema_arrow.names if name in KEYS]
            if not columns:
                there = ", ".join(table.schema_arrow.names[:12])
                raise BadRow(f"its columns are {there}; none is one of {', '.join(KEYS)}")
            for batch in table.iter_batches(BATCH, columns=columns, use_threads=False):
                yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BadRow(f"it cannot be read as Parquet ({str(error).splitlines()[0]})") from error
