"""Fake output folders, and both pages built from them once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.report.fake_output import Study, ellipsoid, write_output

from plastimap.report.inputs import Page
from plastimap.report.load_person import load_person
from plastimap.report.load_study import load_study
from plastimap.report.person import build_person
from plastimap.report.save import write_files, write_page
from plastimap.report.study import StudyReport, build_study
from plastimap.writing import write_text


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything there is; names and notes carry HTML."""
    folder = tmp_path_factory.mktemp("whole")
    write_output(folder, Study(ellipsoid(14.0), hostile=True))
    return folder


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T1w alone: no MPM, no diffusion, no group level."""
    folder = tmp_path_factory.mktemp("bare")
    write_output(folder, Study(ellipsoid(14.0), people=2, mpm=False, dwi=False, group=False))
    return folder


@pytest.fixture(scope="session")
def study_report(whole: Path) -> StudyReport:
    """Everything of the study, and the same written to disk."""
    report = build_study(load_study(whole))
    place = whole / "report"
    write_files(report.viewers, place / "viewer")
    write_files(report.paper.files, place / "paper")
    write_text(place / "rating.html", report.rating)
    write_page(report.page, place / "index.html", place / "figures/study")
    return report


@pytest.fixture(scope="session")
def study_page(study_report: StudyReport) -> Page:
    return study_report.page


@pytest.fixture(scope="session")
def person_page(whole: Path) -> Page:
    page = build_person(load_person(whole, "02"))
    write_page(page, whole / "report/sub-02.html", whole / "report/figures/sub-02")
    return page
