from __future__ import annotations

import pytest

from plastimap.bids.participants import check_model_columns, check_presence, read_participants


def check(make, *lines, group="group", covariates=("age", "tiv"), columns="participant_id group age"):
    make.table("participants.tsv", columns, *lines)
    people, problems = read_participants(make.root)
    with_data = {person["participant_id"] for person in people}
    found = check_model_columns(people, with_data, exists=True, group=group, covariates=covariates)
    return people, [problem.what for problem in problems + found]


def test_text_stays_text_and_labels_get_their_prefix(make):
    people, problems = check(make, "01 2 30", "sub-02 1 n/a", covariates=())
    assert people[0] == {"participant_id": "sub-01", "group": "2", "age": "30"}
    assert people[1]["age"] is None
    assert not problems


def test_a_person_listed_twice_is_an_error_whichever_way_written(make):
    people, problems = check(make, "sub-01 A 30", "01 B 31")
    assert problems == ["sub-01 is listed 2 times"]
    assert [person["group"] for person in people] == ["A"]


def test_a_missing_covariate_is_an_error_that_names_the_person(make):
    assert check(make, "sub-01 A 30", "sub-02 B n/a")[1] == ["no age for sub-02"]
    assert check(make, "sub-01 n/a 30", "sub-02 B 31")[1] == ["no group for sub-01"]


def test_a_missing_column_is_an_error(make):
    assert check(make, "sub-01 30", columns="participant_id age")[1] == ["no column 'group'"]
    assert check(make, "sub-01 30", columns="participant_id age", group=None)[1] == []


@pytest.mark.parametrize(("cells", "wrong"), [("30 31", False), ("m f", False), ("30 31y", True), ("30,5 31,5", True)])
def test_numbers_and_words_do_not_mix(make, cells, wrong):
    one, two = cells.split()
    problems = check(make, f"sub-01 A {one}", f"sub-02 B {two}")[1]
    assert problems == (["age is not a number everywhere"] if wrong else [])


def test_no_table_is_an_error_only_when_columns_are_needed():
    assert check_model_columns([], {"sub-01"}, exists=False, group=None, covariates=["tiv"]) == []
    problems = check_model_columns([], {"sub-01"}, exists=False, group="group", covariates=["age"])
    assert [problem.severity for problem in problems] == ["error"]


@pytest.mark.parametrize(("needed", "severity"), [(True, "error"), (False, "notice")])
def test_presence(needed, severity):
    people = [{"participant_id": "sub-01"}, {"participant_id": "sub-02"}]
    problems = check_presence(people, {"sub-01", "sub-03"}, exists=True, needed=needed)
    assert [(problem.what, problem.severity) for problem in problems] == [
        ("no data for sub-02", "notice"),
        ("no line for sub-03", severity),
    ]


def test_groups_that_differ_by_case_only_are_an_error(make):
    assert check(make, "sub-01 A 30", "sub-02 a 31", "sub-03 B 33")[1] == ["groups 'A' and 'a' differ by case only"]


def test_labels_that_lost_their_zeros_are_guessed(make):
    make.table("participants.tsv", "participant_id", "1", "2")
    people, _ = read_participants(make.root)
    _, problem = check_presence(people, {"sub-01", "sub-02"}, exists=True, needed=True)
    assert problem.remedy == "write sub-01 for sub-1, and so on"
