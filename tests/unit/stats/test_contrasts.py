from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.stats.contrasts import auto_contrasts, parse_contrast, read_contrasts
from plastimap.stats.problems import StatsProblem

WORD = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True).filter(lambda word: word.casefold() != "in")
NAME = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
GROUPS = st.lists(NAME, min_size=2, max_size=5, unique=True)
SPACE = st.sampled_from([" ", "  ", "\t"])


@given(groups=GROUPS, operator=st.sampled_from([">", "<", "<>"]), cut=st.integers(1, 4), space=SPACE)
def test_groups_come_back_as_written(groups: list[str], operator: str, cut: int, space: str) -> None:
    cut = min(cut, len(groups) - 1)
    text = f"{space}+{space}".join(groups[:cut]) + space + operator + space + "+".join(groups[cut:])
    contrast = parse_contrast(text)
    assert contrast.left == tuple(groups[:cut])
    assert contrast.right == tuple(groups[cut:])
    assert contrast.directions == {">": (">",), "<": ("<",), "<>": (">", "<")}[operator]
    assert parse_contrast(contrast.test) == contrast


@given(groups=GROUPS, column=WORD)
def test_slopes_come_back_as_written(groups: list[str], column: str) -> None:
    contrast = parse_contrast(f"{column} in {' + '.join(groups)} <> 0", name="learning")
    assert (contrast.column, contrast.left, contrast.right, contrast.name) == (column, tuple(groups), (), "learning")
    assert parse_contrast(contrast.test, name="learning") == contrast


@given(text=st.text(alphabet="B xin+<>0-_", max_size=20))
def test_any_text_is_read_or_refused_in_plain_words(text: str) -> None:
    read, problems = read_contrasts([text], ["A"])
    assert problems
    assert all(contrast.left for contrast in read)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A B", "exactly one of"),
        ("A > B > C", "exactly one of"),
        ("A + > B", "missing"),
        (" > B", "missing"),
        ("A + 0 > B", "0 may only stand alone"),
        ("0 > B", "0 may only stand alone"),
        ("A + B > A", "more than once"),
        ("x in A > B", "compared with 0"),
    ],
)
def test_mistakes_are_explained(text: str, reason: str) -> None:
    with pytest.raises(StatsProblem, match=reason):
        parse_contrast(text)


def test_auto_is_every_pair_both_ways() -> None:
    found = auto_contrasts(["A", "B", "C"])
    assert [(c.left, c.right) for c in found] == [(("A",), ("B",)), (("A",), ("C",)), (("B",), ("C",))]
    assert all(c.directions == (">", "<") for c in found)
    (single,) = auto_contrasts(["all"])
    assert (single.test, single.directions) == ("all <> 0", (">", "<"))


def test_unknown_groups_get_a_suggestion_and_all_problems_come_at_once() -> None:
    read, problems = read_contrasts(
        [{"name": "one", "test": "SCI-UL > CONN"}, {"name": "one", "test": "sci-ul <> 0"}, "A", {"name": "two"}],
        ["SCI-UL", "CON"],
    )
    assert len(read) == 2
    text = "\n".join(problems)
    assert "did you mean 'CON'?" in text
    assert "did you mean 'SCI-UL'?" in text
    assert "two contrasts are called 'one'" in text
    assert "the key 'test' is missing" in text
    assert len(problems) == 5


def test_any_difference_between_several() -> None:
    contrast = parse_contrast("A != B + C != D")
    assert contrast.sides == (("A",), ("B", "C"), ("D",))
    assert contrast.groups == ("A", "B", "C", "D")
    assert contrast.directions == ("!=",)
    assert contrast.test == contrast.name == "A != B + C != D"
    for wrong in ("A != A", "A != B > C", "A != 0", "A != "):
        with pytest.raises(StatsProblem):
            parse_contrast(wrong)
