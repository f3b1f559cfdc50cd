"""A CSV file in, its rows as dictionaries with their line numbers out; anything odd is an error.

Used by readers whose lists people write by hand: the error names the file and the line.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.base import DatasetError


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: `line` counts from 1 in the file (the header is line 1); values are stripped."""

    path: Path
    line: int
    values: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")

    def error(self, message: str) -> DatasetError:
        """Return the error that says `message` about this row."""
        return DatasetError(f"{self.path}, row at line {self.line}: {message}")

    def seconds(self, column: str) -> float:
        """Return a column as finite, non-negative seconds."""
        try:
            value = float(self[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0:
            raise self.error(
                f"{column} is {self[column]!r}; expected seconds, a number of 0 or more"
            )
        return value


def read_table(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = (), delimiter: str = ","
) -> list[Row]:
    """Return the non-blank rows of a UTF-8 file with a header line and `delimiter` between fields.

    Raises
    ------
    DatasetError
        Not UTF-8, missing or unknown columns, or a row with more or fewer fields than the header.
    """
    lines = read_lines(path, delimiter=delimiter)
    header = lines[0][1] if lines else []
    _check_header(path, header, required, optional, delimiter)
    return list(_rows(path, header, lines[1:], delimiter))


def read_lines(
    path: Path, *, delimiter: str = ",", skip_initial_space: bool = False
) -> list[tuple[int, list[str]]]:
    """Return (line number, stripped fields) of every line of a UTF-8 file, blank ones too.

    See `iterate_lines`, which holds one line at a time.
    """
    return list(iterate_lines(path, delimiter=delimiter, skip_initial_space=skip_initial_space))


def iterate_lines(
    path: Path, *, delimiter: str = ",", skip_initial_space: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, stripped fields) of every line of a UTF-8 file, blank ones too.

    `skip_initial_space` reads a quoted field that follows a blank as quoted.

    Raises
    ------
    DatasetError
        No such file, not UTF-8, or quotes that do not match.
    """
    reader = csv.reader(
        io.StringIO(read_text(path), newline=""),
        strict=True,
        delimiter=delimiter,
        skipinitialspace=skip_initial_space,
    )
    try:
        for row in reader:
            yield reader.line_num, [field.strip() for field in row]
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: not a CSV file ({error})") from error


def _rows(
    path: Path, header: list[str], lines: list[tuple[int, list[str]]], delimiter: str
) -> Iterator[Row]:
    hint = "put a field that holds a comma in double quotes"
    if delimiter != ",":
        hint = "complete the row, or take it out"
    for line, fields in lines:
        if not any(fields):
            continue
        row = Row(path=path, line=line, values=dict(zip(header, fields, strict=False)))
        if len(fields) != len(header):
            raise row.error(
                f"{len(fields)} fields; expected {len(header)} ({','.join(header)}); {hint}"
            )
        yield row


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises
    ------
    DatasetError
        No such file, or not UTF-8.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DatasetError(f"{path}: no such file; check the path") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; "
            "save the file as CSV in UTF-8"
        ) from error


def _check_header(
    path: Path,
    header: list[str],
    required: Sequence[str],
    optional: Sequence[str],
    delimiter: str,
) -> None:
    allowed = [*required, *optional]
    expected = f"expected the columns {','.join(required)}"
    if optional:
        expected += f"{' and, if wanted, ' if required else ''}{','.join(optional)}"
    got = f"; got {','.join(header) or 'an empty file'}"
    if delimiter == "," and len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        got += " (fields are separated by commas, not by ';' or tabs)"
    missing = [column for column in required if column not in header]
    if missing:
        raise DatasetError(f"{path}: no column {', '.join(missing)}; {expected}{got}")
    unknown = [column for column in header if column not in allowed]
    if unknown:
        names = ", ".join(column or "(no name)" for column in unknown)
        raise DatasetError(f"{path}: unknown column {names}; {expected}{got}; remove or rename it")
    if len(set(header)) != len(header):
        raise DatasetError(f"{path}: a column is there twice; {expected}{got}")
