"""Hostile and odd inputs: each spoils a good study in one way. None is a file in the repository; all are made here."""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tests.unit.bids.conftest import AFFINE, SHAPE, StudyMaker

ECHO = "sub-01/ses-01/anat/sub-01_ses-01_acq-x_echo-1_flip-1_mt-off_MPM"
T1W = "sub-01/ses-01/anat/sub-01_ses-01_T1w"
DWI = "sub-01/ses-01/dwi/sub-01_ses-01_dwi"
SESSIONS = "sub-01/sub-01_sessions.tsv"
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Case:
    """One spoiled study.

    Attributes
    ----------
    name : str
    spoil : callable
        Takes the study; may give further arguments of the command line.
    words : str
        What the message must say; empty where the input is to be handled.
    """

    name: str
    spoil: Callable[[StudyMaker], list[str] | None]
    words: str = ""


CASES: list[Case] = []


def case(words: str = "") -> Callable[[Callable[[StudyMaker], Any]], Callable[[StudyMaker], Any]]:
    """Add a function to the corpus."""

    def add(spoil: Callable[[StudyMaker], Any]) -> Callable[[StudyMaker], Any]:
        CASES.append(Case(spoil.__name__, spoil, words))
        return spoil

    return add


def header_field(image: Path, place: int, code: str, *values: Any) -> None:
    """Overwrite a field of a compressed image's header."""
    raw = bytearray(gzip.decompress(image.read_bytes()))
    struct.pack_into("<" + code, raw, place, *values)
    image.write_bytes(gzip.compress(bytes(raw)))


def rewrite(study: StudyMaker, path: str, data: Any, affine: Any = AFFINE) -> nib.Nifti1Image:
    image = nib.Nifti1Image(data, affine)
    image.to_filename(study.root / path)
    return image


# --- files that are broken --------------------------------------------------------------------------------------------
@case("cut short")
def truncated_gzip(study: StudyMaker) -> None:
    file = study.root / f"{T1W}.nii.gz"
    data = np.random.default_rng(1).integers(0, 999, (20, 20, 20)).astype(np.int16)
    nib.Nifti1Image(data, AFFINE).to_filename(file)
    file.write_bytes(file.read_bytes()[:4000])


@case("empty")
def empty_image(study: StudyMaker) -> None:
    (study.root / f"{T1W}.nii.gz").write_bytes(b"")


@case("NIfTI")
def text_named_as_image(study: StudyMaker) -> None:
    (study.root / f"{T1W}.nii.gz").write_text("version https://git-lfs.github.com/spec/v1\n" * 20)


@case("damaged")
def gzip_magic_and_noise(study: StudyMaker) -> None:
    (study.root / f"{T1W}.nii.gz").write_bytes(GZIP + np.random.default_rng(1).bytes(4000))


@case("cut short")
def gigantic_dimensions(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 40, "8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)


@case("dimensions")
def negative_dimensions(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 40, "8h", 3, -4, 5, 3, 1, 1, 1, 1)


@case("dimensions")
def a_hundred_dimensions(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 40, "8h", 100, 4, 5, 3, 1, 1, 1, 1)


@case("data type")
def unknown_data_type(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 70, "h", 12345)


@case("data type")
def colour_image(study: StudyMaker) -> None:
    data = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rewrite(study, f"{T1W}.nii.gz", data)


@case("where the data begin")
def data_offset_not_a_number(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 108, "f", float("nan"))


@case("where the data begin")
def data_offset_infinite(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 108, "f", float("inf"))


@case("scaling")
def scale_factor_not_a_number(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 112, "2f", float("inf"), 0.0)


@case()
def scale_factor_zero(study: StudyMaker) -> None:
    # By the standard a slope of 0 says that there is no scaling.
    header_field(study.root / f"{T1W}.nii.gz", 112, "2f", 0.0, 0.0)


@case()
def scaled_integers(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 112, "2f", 0.5, 10.0)


@case("affine")
def affine_not_a_number(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 280, "12f", *[float("nan")] * 12)


@case("affine")
def affine_singular(study: StudyMaker) -> None:
    header_field(study.root / f"{T1W}.nii.gz", 280, "12f", *[0.0] * 12)


@case("sform and qform disagree")
def places_that_disagree(study: StudyMaker) -> None:
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE)
    image.set_sform(AFFINE, 1)
    moved = AFFINE.copy()
    moved[0, 3] += 30
    image.set_qform(moved, 1)
    image.to_filename(study.root / f"{T1W}.nii.gz")


@case("T1w")
def five_dimensions(study: StudyMaker) -> None:
    rewrite(study, f"{T1W}.nii.gz", np.zeros((*SHAPE, 2, 2), np.int16))


# --- images that are odd ----------------------------------------------------------------------------------------------
@case()
def big_endian(study: StudyMaker) -> None:
    image = nib.Nifti1Image(np.zeros(SHAPE, ">i2"), AFFINE, nib.Nifti1Header(endianness=">"))
    image.to_filename(study.root / f"{T1W}.nii.gz")


@case()
def second_version_of_the_format(study: StudyMaker) -> None:
    nib.Nifti2Image(np.zeros(SHAPE, np.int16), AFFINE).to_filename(study.root / f"{T1W}.nii.gz")


@case()
def oblique_and_flipped(study: StudyMaker) -> None:
    turn = np.array([[0.9, -0.4, 0.1], [0.4, 0.9, 0.1], [-0.1, -0.1, 1.0]]) @ np.diag([-2.0, 2.0, 2.0])
    affine = np.eye(4)
    affine[:3, :3] = turn
    rewrite(study, f"{T1W}.nii.gz", np.zeros(SHAPE, np.int16), affine)


@case()
def slab_of_one_voxel(study: StudyMaker) -> None:
    rewrite(study, f"{T1W}.nii.gz", np.zeros((4, 5, 1), np.int16))


@case()
def all_not_a_number(study: StudyMaker) -> None:
    rewrite(study, f"{T1W}.nii.gz", np.full(SHAPE, np.nan, np.float32))


@case()
def all_infinite(study: StudyMaker) -> None:
    rewrite(study, f"{T1W}.nii.gz", np.full(SHAPE, np.inf, np.float32))


@case("shape")
def echoes_on_different_grids(study: StudyMaker) -> None:
    rewrite(study, f"{ECHO}.nii.gz", np.zeros((4, 5, 4), np.int16))


@case()
def uncompressed_beside_compressed(study: StudyMaker) -> None:
    nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE).to_filename(study.root / f"{T1W}.nii")


# --- gradients --------------------------------------------------------------------------------------------------------
@case("bval")
def b_values_that_are_words(study: StudyMaker) -> None:
    study.text(f"{DWI}.bval", "a b c d e f g h\n")


@case("lie on their side")
def b_vectors_in_rows(study: StudyMaker) -> None:
    study.text(f"{DWI}.bvec", "\n".join(["0 0 0", *["1 0 0"] * 7]) + "\n")


@case()
def b_values_in_a_column(study: StudyMaker) -> None:
    study.text(f"{DWI}.bval", "\n".join(["0", *["1000"] * 7]) + "\n")


@case("unit length")
def b_vectors_not_normalised(study: StudyMaker) -> None:
    rows = (study.root / f"{DWI}.bvec").read_text().splitlines()
    study.text(f"{DWI}.bvec", "\n".join(" ".join(str(3 * float(x)) for x in row.split()) for row in rows) + "\n")


@case("unit length")
def b_vectors_not_a_number(study: StudyMaker) -> None:
    rows = (study.root / f"{DWI}.bvec").read_text().splitlines()
    study.text(f"{DWI}.bvec", "\n".join([" ".join(["nan"] * 8), *rows[1:]]) + "\n")


@case("b-values make no sense")
def b_values_negative_and_infinite(study: StudyMaker) -> None:
    study.text(f"{DWI}.bval", "0 -5 inf 1000 1000 1000 1000 1e999\n")


@case("do not match")
def fewer_b_values_than_volumes(study: StudyMaker) -> None:
    study.text(f"{DWI}.bval", "0 1000\n")


@case("bvec")
def b_vectors_binary(study: StudyMaker) -> None:
    (study.root / f"{DWI}.bvec").write_bytes(bytes(range(256)))


# --- sidecars ---------------------------------------------------------------------------------------------------------
@case("RepetitionTime")
def missing_key(study: StudyMaker) -> None:
    content = json.loads((study.root / f"{ECHO}.json").read_text())
    del content["RepetitionTimeExcitation"]
    study.text(f"{ECHO}.json", json.dumps(content))


@case("twice")
def key_given_twice(study: StudyMaker) -> None:
    text = (study.root / f"{ECHO}.json").read_text().rstrip("}")
    study.text(f"{ECHO}.json", text + ', "EchoTime": 0.5}')


@case("EchoTime")
def values_of_the_wrong_type(study: StudyMaker) -> None:
    content = json.loads((study.root / f"{ECHO}.json").read_text())
    study.text(f"{ECHO}.json", json.dumps({**content, "EchoTime": {"a": 1}, "FlipAngle": [6, None]}))


@case("EchoTime")
def numbers_that_are_none(study: StudyMaker) -> None:
    content = json.loads((study.root / f"{ECHO}.json").read_text())
    study.text(f"{ECHO}.json", json.dumps({**content, "EchoTime": float("nan"), "FlipAngle": float("inf")}))


@case("EchoTime")
def numbers_beyond_every_bound(study: StudyMaker) -> None:
    text = (study.root / f"{ECHO}.json").read_text().replace('"EchoTime": 0.0023', '"EchoTime": 1' + "0" * 400)
    study.text(f"{ECHO}.json", text)


@case("sidecar")
def sidecar_nested_beyond_reason(study: StudyMaker) -> None:
    study.text(f"{ECHO}.json", "[" * 100_000)


@case("sidecar")
def sidecar_is_a_list(study: StudyMaker) -> None:
    study.text(f"{ECHO}.json", "[1, 2]")


@case("sidecar")
def sidecar_is_not_text(study: StudyMaker) -> None:
    (study.root / f"{ECHO}.json").write_bytes(b"\xff\xfe\x00{}")


@case("too large")
def sidecar_without_end(study: StudyMaker) -> None:
    with open(study.root / f"{ECHO}.json", "wb") as stream:
        stream.truncate(1 << 33)


# --- tables -----------------------------------------------------------------------------------------------------------
@case("participants.tsv")
def participants_outside_the_dataset(study: StudyMaker) -> None:
    study.table("participants.tsv", "participant_id group age", "sub-01 A 30", "sub-02 B 40", "../../etc A 3")


@case()
def formulas_in_cells(study: StudyMaker) -> None:
    study.table(
        "participants.tsv", "participant_id group age", '=HYPERLINK("http://x") A 30', "sub-01 A 1", "sub-02 B 2"
    )


@case()
def markup_in_cells(study: StudyMaker) -> None:
    study.table("participants.tsv", "participant_id group age", "sub-01 <script>alert(1)</script> 3", "sub-02 B 4")


@case("no line for")
def data_without_participants(study: StudyMaker) -> None:
    study.table("participants.tsv", "participant_id group age", "sub-01 A 30")


@case("no data for")
def participants_without_data(study: StudyMaker) -> None:
    study.table("participants.tsv", "participant_id group age", "sub-01 A 3", "sub-02 B 4", "sub-99 B 4")


@case("UTF-8")
def table_in_another_encoding(study: StudyMaker) -> None:
    (study.root / "participants.tsv").write_bytes("participant_id\tgroup\nsub-01\tM\xfcller\n".encode("latin-1"))


@case("participants.tsv")
def table_with_null_bytes(study: StudyMaker) -> None:
    (study.root / "participants.tsv").write_bytes(b"participant_id\tgroup\n" + b"\x00" * 5000)


@case("too large")
def table_without_end(study: StudyMaker) -> None:
    with open(study.root / "participants.tsv", "wb") as stream:
        stream.truncate(1 << 33)


@case(SESSIONS)
def days_that_are_words(study: StudyMaker) -> None:
    study.table(SESSIONS, "session_id day", "ses-01 =1+1", "ses-02 soon")


@case("sessions.tsv")
def acquisition_times_beyond_the_calendar(study: StudyMaker) -> None:
    for person in ("sub-01", "sub-02"):
        table = f"{person}/{person}_sessions.tsv"
        study.table(table, "session_id acq_time", "ses-01 9999-12-31T23:59:59Z", "ses-02 0000-00-00T99:99:99")


# --- places -----------------------------------------------------------------------------------------------------------
@case()
def unicode_and_spaces_in_the_path(study: StudyMaker) -> list[str]:
    place = study.root.with_name("Übung à 100 % (neu) 脳")
    study.root.rename(place)
    return [str(place)]


@case()
def link_to_an_image_elsewhere(study: StudyMaker) -> None:
    elsewhere = study.root.parent / "store.nii.gz"
    (study.root / f"{T1W}.nii.gz").rename(elsewhere)
    (study.root / f"{T1W}.nii.gz").symlink_to(elsewhere)


@case("cannot be read")
def link_that_leads_nowhere(study: StudyMaker) -> None:
    (study.root / f"{T1W}.nii.gz").unlink()
    (study.root / f"{T1W}.nii.gz").symlink_to("/nowhere/at/all.nii.gz")


@case("the folder is sub-03")
def link_to_itself(study: StudyMaker) -> None:
    (study.root / "sub-03").symlink_to(study.root, target_is_directory=True)


@case("cannot be read")
def link_in_a_circle(study: StudyMaker) -> None:
    (study.root / f"{T1W}.nii.gz").unlink()
    (study.root / f"{T1W}.nii.gz").symlink_to(f"{Path(T1W).name}.nii.gz")


@case("not a file")
def folder_named_as_image(study: StudyMaker) -> None:
    (study.root / f"{T1W}.nii.gz").unlink()
    (study.root / f"{T1W}.nii.gz").mkdir()


@case("not a file")
def pipe_named_as_image(study: StudyMaker) -> None:
    (study.root / f"{T1W}.nii.gz").unlink()
    os.mkfifo(study.root / f"{T1W}.nii.gz")


@case("not a file")
def pipe_named_as_sidecar(study: StudyMaker) -> None:
    (study.root / f"{ECHO}.json").unlink()
    os.mkfifo(study.root / f"{ECHO}.json")


@case("not a file")
def pipe_named_as_table(study: StudyMaker) -> None:
    (study.root / "participants.tsv").unlink()
    os.mkfifo(study.root / "participants.tsv")


@case()
def names_with_line_breaks_and_tabs(study: StudyMaker) -> None:
    file = study.root / "sub-01/ses-01/anat/sub-01_ses-01_acq-a\n\tb_T1w.nii.gz"
    (study.root / f"{T1W}.nii.gz").rename(file)


# --- configurations ---------------------------------------------------------------------------------------------------
def configured(study: StudyMaker, text: str) -> list[str]:
    file = study.root.parent / "study.yaml"
    file.write_text(text)
    return [str(study.root), "--config", str(file)]


@case("alias")
def yaml_bomb(study: StudyMaker) -> list[str]:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    return configured(study, "\n".join(lines))


@case("YAML")
def yaml_tag_that_runs_code(study: StudyMaker) -> list[str]:
    return configured(study, "exclude: !!python/object/apply:os.system ['touch /tmp/plastimap-was-here']\n")


@case("nested")
def yaml_nested_beyond_reason(study: StudyMaker) -> list[str]:
    return configured(study, "a: " + "[" * 50_000)


@case("unknown key")
def configuration_of_another_program(study: StudyMaker) -> list[str]:
    return configured(study, "FROM: debian\n__class__: x\n")


@case("participants")
def labels_that_climb_out(study: StudyMaker) -> list[str]:
    return configured(study, 'participants: ["../../etc", "01"]\n')


@case("target")
def target_name_that_climbs_out(study: StudyMaker) -> list[str]:
    return configured(study, 'space:\n  target: "../../../evil"\n')


@case("a value cannot be read")
def number_of_thousands_of_digits(study: StudyMaker) -> list[str]:
    return configured(study, f"space: {{resolution: 1{'0' * 5000}}}\n")


@case("not a file")
def configuration_without_end(study: StudyMaker) -> list[str]:
    return [str(study.root), "--config", "/dev/zero"]


@case("not a file")
def pipe_named_as_configuration(study: StudyMaker) -> list[str]:
    os.mkfifo(study.root.parent / "study.yaml")
    return [str(study.root), "--config", str(study.root.parent / "study.yaml")]


# --- folders ----------------------------------------------------------------------------------------------------------
@case("this folder is left out")
def participant_with_braces(study: StudyMaker) -> None:
    (study.root / "sub-{x}").mkdir()


@case("this folder is left out")
def participant_with_a_shell_command(study: StudyMaker) -> None:
    (study.root / "sub-$(touch plastimap-was-here)").mkdir()


@case("this folder is left out")
def session_with_spaces(study: StudyMaker) -> None:
    (study.root / "sub-01" / "ses-0 1").mkdir()


@case("braces")
def path_that_looks_like_a_pattern(study: StudyMaker) -> list[str]:
    moved = study.root.with_name("bids{scan}")
    study.root.rename(moved)
    return [str(moved)]


@case("two days")
def session_listed_twice(study: StudyMaker) -> None:
    study.table(SESSIONS, "session_id day", "ses-01 0", "ses-01 5", "ses-02 28")


@case("nothing can be written to the output folder")
def output_that_links_to_itself(study: StudyMaker) -> None:
    (study.root.parent / "out").symlink_to("out")


@case("Is a directory")
def output_with_a_folder_in_the_place_of_a_table(study: StudyMaker) -> None:
    (study.root.parent / "out" / "manifest.tsv").mkdir(parents=True)


@case()
def output_with_tables_that_are_no_text(study: StudyMaker) -> None:
    out = study.root.parent / "out"
    out.mkdir()
    for name in ("manifest.tsv", "plan.json", "problems.json", "plastimap.yaml"):
        (out / name).write_bytes(b"\xff\xfe\x00")
