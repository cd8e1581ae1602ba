from __future__ import annotations

import pytest

from plastimap.bids.tables import number, read_table


def read(tmp_path, content, **options):
    file = tmp_path / "x.tsv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(file, "x.tsv", **options)


def test_cells_stay_text_and_missing_ones_are_none(tmp_path):
    table, problems = read(tmp_path, "\ufeffid\tage\r\n007\t n/a \r\n\r\n08\t3.50\r\n")
    assert table.rows == ({"id": "007", "age": None}, {"id": "08", "age": "3.50"})
    assert not problems


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ("id,age\n1,2\n", "tabs"),
        ("name\tage\n1\t2\n", "name the column id"),
        ("", "write it again"),
        ("id\tid\n1\t2\n", "rename"),
        (b"id\tage\n\xff\xfe\t2\n", "UTF-8"),
    ],
)
def test_broken_tables_give_a_remedy(tmp_path, content, remedy):
    table, problems = read(tmp_path, content, required=("id",))
    assert not table.rows
    assert len(problems) == 1
    assert remedy in problems[0].remedy


def test_a_ragged_line_is_named_and_the_others_are_read(tmp_path):
    table, problems = read(tmp_path, "id\tage\n1\t2\n3\n4\t5\n")
    assert [row["id"] for row in table.rows] == ["1", "4"]
    assert "line 3" in problems[0].what


@pytest.mark.parametrize(
    ("text", "value"), [("3.5", 3.5), ("-1e3", -1000.0), ("nan", None), ("inf", None), ("3,5", None), (None, None)]
)
def test_numbers_are_finite_or_none(text, value):
    assert number(text) == value
