"""Published tables that were cut, edited or damaged are refused, never read as something else."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bench.data.tables import column_names, find_file, read_table
from bench.errors import DataError

TEXT = "id,view,Edema,Mass\na,PA,1,0\nb,AP,0,1\n"


def file_of(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TEXT + "c,PA,1", 4),  # the end of a download is missing
        (TEXT.replace("b,AP", "b,,AP"), 3),  # each label would be its neighbour's
        (TEXT.replace("a,PA,1", "a,PA"), 2),
    ],
)
def test_rows_of_unequal_length_are_refused_with_the_line(
    tmp_path: Path, text: str, line: int
) -> None:
    with pytest.raises(DataError, match=rf"table\.csv line {line}: \d fields where \d"):
        read_table(file_of(tmp_path, text), ["id", "Edema", "Mass"])


@pytest.mark.parametrize("header", ["id,view,Edema,Mass", "id,view,Edema,Mass,"])
def test_a_comma_at_the_end_of_every_row_does_not_matter(tmp_path: Path, header: str) -> None:
    path = file_of(tmp_path, f"{header}\na,PA,1,0,\nb,AP,0,1,\n")
    assert read_table(path, ["id", "Mass"]).to_numpy().tolist() == [["a", "0"], ["b", "1"]]


def test_text_over_several_lines_is_one_field(tmp_path: Path) -> None:
    path = file_of(tmp_path, 'id,report\na,"clear,\n""normal"""\nb,\n')
    assert read_table(path, ["id", "report"])["report"].tolist() == ['clear,\n"normal"', ""]


def test_a_column_that_is_there_twice_is_refused_where_it_is_used(tmp_path: Path) -> None:
    path = file_of(tmp_path, "id,view,Mass, Mass\na,PA,1,0\n")
    with pytest.raises(DataError, match="2 columns 'Mass'"):
        read_table(path, ["id"], ["Mass"])
    assert len(read_table(path, ["id"], ["view"])) == 1


@pytest.mark.parametrize("end", [30, -3])
def test_a_packed_table_that_was_cut_is_named(tmp_path: Path, end: int) -> None:
    path = file_of(tmp_path, gzip.compress(TEXT.encode())[:end], "table.csv.gz")
    with pytest.raises(DataError, match=r"table\.csv\.gz cannot be read as a CSV table"):
        read_table(path, ["id"])


@pytest.mark.parametrize("content", [b"", b"\xff\xfei\0d\0", b"\x1f\x8b\x08 spoilt"])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        column_names(file_of(tmp_path, content))


def test_a_file_is_found_packed_or_not_and_what_was_looked_for_is_said(tmp_path: Path) -> None:
    packed = file_of(tmp_path, gzip.compress(TEXT.encode()), "other.csv.gz")
    assert find_file([tmp_path / "none", tmp_path], ["table.csv", "other.csv"], "table") == packed
    with pytest.raises(DataError, match=r"No label table\. Looked for .*table\.csv"):
        find_file([tmp_path], ["table.csv"], "label table")
