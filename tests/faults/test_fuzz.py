"""Random bytes at the doors: header, sidecar, table, manifest, configuration. Each door knows its own kind of no.

The fast profile runs in every test run; the slow one tries a hundred times as much and prints what it did.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from plastimap.bids.gradients import GradientError, read_bvals, read_bvecs
from plastimap.bids.header import HeaderError, check_place, read_header
from plastimap.bids.index import Dataset
from plastimap.bids.rows import Row, format_rows, parse_rows
from plastimap.bids.tables import read_table
from plastimap.config import ConfigError, read_yaml
from plastimap.images import ImageProblem, read_volume
from plastimap.jobs import MARK
from plastimap.running.lock import read_run
from plastimap.running.resume import put_in_order
from plastimap.running.status import format_status, read_status

FAST, SLOW = 60, int(os.environ.get("PLASTIMAP_FUZZ", "6000"))
"""Executions per door. Another number than the slow profile's comes from the environment."""

BASE = struct.pack("<i", 348) + bytes(344)


def a_header(changes: list[tuple[int, bytes]], body: bytes, *, zipped: bool) -> bytes:
    """A plain header of a small image with some of its bytes changed."""
    raw = bytearray(BASE)
    struct.pack_into("<8h", raw, 40, 3, 4, 5, 3, 1, 1, 1, 1)
    struct.pack_into("<2h", raw, 70, 4, 16)
    struct.pack_into("<8f", raw, 76, 1, 2, 2, 2, 1, 1, 1, 1)
    struct.pack_into("<f", raw, 108, 352)
    raw[344:348] = b"n+1\x00"
    for place, content in changes:
        raw[place : place + len(content)] = content
    whole = bytes(raw[:348]) + bytes(4) + body
    return gzip.compress(whole, 1) if zipped else whole


changes = st.lists(st.tuples(st.integers(0, 347), st.binary(min_size=1, max_size=8)), max_size=6)
headers = st.one_of(
    st.binary(max_size=600),
    st.builds(a_header, changes, st.sampled_from([b"", bytes(120), bytes(500)]), zipped=st.booleans()),
)
json_text = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
words = st.text(alphabet=st.characters(codec="utf-8"), max_size=200)


def header_door(folder: Path, content: bytes) -> None:
    file = folder / "x.nii.gz"
    file.write_bytes(content)
    try:
        header = read_header(file)
        check_place(header)
    except HeaderError:
        return
    if header.data_bytes < 1 << 20:
        # What the index lets pass, the library reads, or says why not.
        try:
            read_volume(file)
        except ImageProblem:
            return


def sidecar_door(folder: Path, content: bytes) -> None:
    place = folder / "bids" / "sub-01" / "anat"
    place.mkdir(parents=True, exist_ok=True)
    (place / "sub-01_T1w.json").write_bytes(content)
    (place / "sub-01_T1w.nii.gz").touch()
    dataset = Dataset(folder / "bids")
    for file in dataset.files:
        assert isinstance(dataset.metadata(file), dict)


def table_door(folder: Path, content: bytes) -> None:
    file = folder / "participants.tsv"
    file.write_bytes(content)
    table, problems = read_table(file, "participants.tsv", required=("participant_id",))
    assert all(set(row) == set(table.columns) for row in table.rows)
    assert table.columns or problems


def gradient_door(folder: Path, content: bytes) -> None:
    file = folder / "x.bvec"
    file.write_bytes(content)
    for read in (read_bvals, read_bvecs):
        try:
            read(file)
        except GradientError:
            continue


def manifest_door(_: Path, content: bytes) -> None:
    try:
        parse_rows(content.decode("utf-8", errors="replace"))
    except ValueError:
        return


def config_door(folder: Path, content: bytes) -> None:
    file = folder / "study.yaml"
    file.write_bytes(content)
    try:
        assert isinstance(read_yaml(file)[0], dict)
    except ConfigError:
        return


def record_door(folder: Path, content: bytes) -> None:
    """A log's record of completion, and the run file: what another program or a power cut left there."""
    (folder / "logs").mkdir(exist_ok=True)
    (folder / ".plastimap").mkdir(exist_ok=True)
    begin = f'{MARK}started {{"time": 1}}\n'.encode()
    (folder / "logs" / "mpm.log").write_bytes(begin + f"{MARK}done ".encode() + content)
    (folder / ".plastimap" / "run.json").write_bytes(content)
    format_status(read_status(folder, verify=True), folder)
    put_in_order(folder, read_run(folder), set())


as_bytes = st.binary(max_size=300) | words.map(str.encode)
records = st.fixed_dictionaries(
    {"time": json_text, "files": st.dictionaries(words, st.tuples(st.integers(), words) | json_text, max_size=3)},
    optional={"jobs": json_text, "started": json_text, "host": json_text, "pid": json_text, "run": json_text},
)
tables = st.lists(st.lists(words, max_size=4).map("\t".join), max_size=6).map(lambda lines: "\n".join(lines).encode())
DOORS: dict[str, tuple[Callable[[Path, bytes], None], st.SearchStrategy[bytes]]] = {
    "header": (header_door, headers),
    "sidecar": (sidecar_door, as_bytes | json_text.map(lambda value: json.dumps(value).encode())),
    "table": (table_door, tables.map(lambda rest: b"participant_id\tx\n" + rest) | as_bytes),
    "gradients": (gradient_door, as_bytes | st.lists(st.floats().map(str)).map(" ".join).map(str.encode)),
    "manifest": (manifest_door, tables | words.map(lambda text: (format_rows([]) + text).encode())),
    "record": (record_door, as_bytes | st.one_of(json_text, records).map(lambda value: json.dumps(value).encode())),
    "config": (config_door, as_bytes | json_text.map(lambda value: json.dumps(value).encode())),
}


def attack(door: str, folder: Path, count: int) -> int:
    """Try a door so many times; how often it was."""
    enter, contents = DOORS[door]
    tried = 0

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=count <= FAST, print_blob=False,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(contents)
    def run(content: bytes) -> None:
        nonlocal tried
        tried += 1
        enter(folder, content)

    run()
    return tried


@pytest.mark.parametrize("door", DOORS)
def test_random_content_is_refused_in_the_doors_own_words(door: str, tmp_path: Path) -> None:
    assert attack(door, tmp_path, FAST) >= FAST // 3


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_many_random_contents(door: str, tmp_path: Path, capsys) -> None:
    start = time.process_time()
    tried = attack(door, tmp_path, SLOW)
    with capsys.disabled():
        print(f"\n{door}: {tried} executions in {time.process_time() - start:.1f} s of CPU, no crash")


@given(st.builds(lambda path, task: Row(participant_id="sub-01", session=None, path=path, datatype="anat",
                                        suffix="T1w", task=task), words, st.none() | words))  # fmt: skip
@settings(max_examples=FAST, deadline=None, derandomize=True, database=None)
def test_no_name_breaks_the_manifest(row: Row) -> None:
    """Whatever a file is called, the table has one line for it, and every line has every cell."""
    rows: Any = parse_rows(format_rows([row, row]))
    assert len(rows) == 2
