from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from tests.unit.report.fake_output import HOSTILE

from plastimap.report.inputs import Page, PersonInputs, ScanInputs, Stage, StudyInputs
from plastimap.report.load_person import load_person
from plastimap.report.load_study import load_study
from plastimap.report.person import build_person
from plastimap.report.regions import regions_picture
from plastimap.report.study import build_study

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(HTMLParser):
    """Collects what a test asks about, and complains about tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        self.links += [found["href"]] if tag == "a" and found.get("href") else []
        self.images += [found] if tag == "img" else []
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize(("name", "figures"), [("index.html", "study"), ("sub-02.html", "sub-02")])
def test_pages_are_whole(name: str, figures: str, whole: Path, study_page: Page, person_page: Page) -> None:
    page = study_page if figures == "study" else person_page
    file = whole / "report" / name
    reader = Reader(file.read_text(encoding="utf-8"))
    shown = [unquote(str(image["src"])) for image in reader.images]
    assert set(shown) == {f"figures/{figures}/{figure}" for figure in page.figures}
    for source in shown:
        start = (file.parent / source).read_bytes()[:5]
        assert start in (b"\x89PNG\r", b"<?xml")
    assert all(image["alt"] for image in reader.images)
    assert len(reader.ids) == len(set(reader.ids))
    inner = [link[1:] for link in reader.links if link.startswith("#")]
    assert set(inner) <= set(reader.ids)
    assert reader.links[0] == "#main"


def test_nothing_comes_from_the_network(study_page: Page, person_page: Page) -> None:
    for page in (study_page, person_page):
        reader = Reader(page.html)
        assert "script src" not in page.html
        frames = [line for line in page.html.splitlines() if "<iframe" in line]
        assert all('src="viewer/' in line for line in frames)
        outside = [link for link in reader.links if "//" in link]
        assert all(link.startswith("https://doi.org/") for link in outside)
        assert "url(" not in page.html
        assert "@import" not in page.html


def test_words_from_tables_are_text(study_page: Page, person_page: Page) -> None:
    for page in (study_page, person_page):
        assert HOSTILE not in page.html
        assert HOSTILE in Reader(page.html).text
    assert all(b"<script" not in content for content in study_page.figures.values())


def test_sizes(study_page: Page, person_page: Page) -> None:
    assert len(study_page.html) + sum(map(len, study_page.figures.values())) < 15_000_000
    assert len(person_page.html) + sum(map(len, person_page.figures.values())) < 5_000_000


def test_study_page_tells_what_was_found(study_page: Page) -> None:
    text = Reader(study_page.html).text
    assert "1 cluster survived correction across all families, in R1." in text
    assert "16 families were tested" in text
    assert "hangs on one person" in text
    assert "hand area R" in text
    assert "Linear and quadratic time over days 0, 14, 84." in text
    assert "missing (4 of 36)" in text
    assert "Voxels of each region, per side and tissue" in text
    assert f"region {HOSTILE} is empty" in text
    drawn = set(study_page.figures)
    assert {"regions.png", "availability.svg", "design.svg", "trajectories.svg", "learning_csr-percent.svg"} <= drawn
    assert sum(name.startswith("clusters_") for name in drawn) == 2


def test_the_methods_say_how_brains_were_found(whole: Path) -> None:
    study = load_study(whole)
    assert study.anatomy == {"given": len(study.scans if study.scans is not None else ())}


def test_regions_are_outlined_where_they_lie(whole: Path) -> None:
    study = load_study(whole)
    centres = {
        name: region.affine[:3, :3] @ np.argwhere(region.data).mean(axis=0) + region.affine[:3, 3]
        for name, region in study.regions.items()
        if region.data.any()
    }
    assert len(study.regions) == 6
    assert len(centres) == 5
    assert np.abs(centres["thalamus"]).max() < 1
    drawn = regions_picture(study)
    assert drawn is not None
    keys = [text.get_text() for text in drawn.figure.legends[0].get_texts()]
    assert keys == list(centres)
    assert list(drawn.numbers["region"]) == list(study.regions)
    # Six names stand below the picture, seven cuts in each of three planes in it.
    assert drawn.figure.axes[0].get_position().y0 > 0
    assert sum(" = " in text.get_text() for text in drawn.figure.axes[0].texts) == 21
    assert regions_picture(replace(study, background=None)) is None
    assert regions_picture(replace(study, regions={})) is None


def test_person_page_tells_what_to_look_at(person_page: Page) -> None:
    text = Reader(person_page.html).text
    assert "volume 20 moved" in text
    assert text.count("The mask was given with the data.") == 3
    assert {
        "structural_ses-01.png",
        "mpm_ses-03.png",
        "dwi_ses-02.png",
        "motion_ses-02.svg",
        "warped_ses-01.png",
    } <= set(person_page.figures)


def test_missing_stages_are_said(bare: Path) -> None:
    person = build_person(load_person(bare, "01"))
    text = Reader(person.html).text
    assert "No multi-parameter maps in this session." in text
    assert "No diffusion maps in this session." in text
    assert "Diffusion tensor was left out: no diffusion series." in text
    study = Reader(build_study(load_study(bare)).page.html).text
    assert "No group statistics were made: a group model needs at least 4 people." in study
    assert "No behaviour was analysed." in study
    assert "no multi-echo MPM images" in study


def test_pages_of_nothing() -> None:
    study = Reader(build_study(StudyInputs()).page.html).text
    assert "There is no table of participants." in study
    assert "No methods text" not in study
    person = Reader(build_person(PersonInputs("sub-01", scans=(ScanInputs("sub-01"),))).html).text
    assert "No structural image was segmented in this session." in person
    assert "only session" in person


def test_hostile_participant_cannot_leave_the_folder() -> None:
    page = build_person(PersonInputs('sub-"><b>', scans=(), stages=(Stage("dwi", False, "none"),)))
    assert "<b>" not in page.html


def test_load_finds_days_sources_and_medians(whole: Path, person_page: Page) -> None:
    person = load_person(whole, "02")
    first = person.scans[0]
    assert first.day == 0
    assert first.day_source == "sessions.tsv"
    # Noise of 6 % around 1.05: the median over hundreds of voxels is within 2 %.
    assert first.medians["R1"]["WM"] == pytest.approx(1.05, rel=0.02)
    assert person.facts["group"] == "controls"
    assert "controls" in person_page.html
    assert set(person.target_outlines) == {"brain", "WM"}


def test_load_keeps_gaps_as_gaps(whole: Path) -> None:
    table = load_study(whole).availability
    assert table is not None
    gaps = table[~table["present"]]
    assert set(gaps.loc[gaps["participant_id"] == "sub-03", "kind"]) == {"DWI"}
    assert set(gaps.loc[gaps["participant_id"] == "sub-01", "session"]) == {"03"}
    assert set(gaps["participant_id"]) == {"sub-01", "sub-03"}


def test_timing_sums_jobs(whole: Path) -> None:
    timing = load_study(whole).timing
    assert timing is not None
    row = timing.set_index("step").loc["mpm"]
    assert row["jobs"] == 2
    assert row["minutes"] == pytest.approx((41.0 + 41.0 * 1.2) / 60)
    assert np.isfinite(row["peak_mb"])
