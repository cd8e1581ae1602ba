"""Every page of a report in a real browser: nothing complains, nothing is asked of the network, everything is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

from plastimap.exclusion import read_exclusions
from plastimap.report.load_person import load_person
from plastimap.report.load_study import load_study
from plastimap.report.person import build_person
from plastimap.report.save import write_files, write_page
from plastimap.report.study import build_study
from plastimap.writing import write_text
from tests.unit.report.fake_output import Study, ellipsoid, write_output
from tests.workflow.chromium import Chromium, browser

pytestmark = pytest.mark.skipif(browser() is None, reason="no Chromium or Chrome on the PATH to open pages with")

LARGEST_STUDY, LARGEST_PERSON = 15_000_000, 5_000_000
PHONE_WIDTH = 375


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report of a small study: two people with pages, results, viewers, tables."""
    folder = tmp_path_factory.mktemp("output")
    write_output(folder, Study(ellipsoid(14.0), people=2, hostile=True))
    made, place = build_study(load_study(folder)), folder / "report"
    write_files(made.viewers, place / "viewer")
    write_files(made.paper.files, place / "paper")
    write_text(place / "rating.html", made.rating)
    write_page(made.page, place / "index.html", place / "figures/study")
    for person in ("01", "02"):
        page = build_person(load_person(folder, person))
        write_page(page, place / f"sub-{person}.html", place / f"figures/sub-{person}")
    return place


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = browser()
    assert program is not None
    with Chromium(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def pages(report: Path) -> list[Path]:
    return sorted(report.rglob("*.html"))


def test_every_kind_of_page_is_there(report: Path) -> None:
    kinds = {page.relative_to(report).parts[0] for page in pages(report)}
    assert {"index.html", "rating.html", "sub-01.html", "sub-02.html", "viewer", "paper"} <= kinds


def test_pages_open_without_complaint_or_request(report: Path, chromium: Chromium) -> None:
    for page in pages(report):
        chromium.open(page.as_uri())
        broken = chromium.run("""(async () => {
            const images = [...document.images];
            images.forEach(image => { image.loading = "eager"; });
            await Promise.all(images.map(image => image.decode().catch(() => 0)));
            return images.filter(image => !image.naturalWidth).map(image => image.src);
        })()""")
        assert broken == [], page.name
        assert chromium.complaints == [], page.name
        outside = [url for url in chromium.requests if not url.startswith(("file:", "data:", "blob:", "about:"))]
        assert outside == [], page.name


def test_links_lead_somewhere(report: Path, chromium: Chromium) -> None:
    anchors: dict[str, set[str]] = {}
    for page in pages(report):
        chromium.open(page.as_uri())
        anchors[page.as_uri()] = set(chromium.run("[...document.querySelectorAll('[id]')].map(one => one.id)"))
    for page in pages(report):
        chromium.open(page.as_uri())
        for link in chromium.run("[...document.querySelectorAll('a[href], iframe[src]')].map(a => a.href || a.src)"):
            if urlparse(link).scheme in ("http", "https"):
                assert link.startswith("https://doi.org/")
                continue
            address, fragment = urldefrag(link)
            assert Path(unquote(urlparse(address).path)).exists(), (page.name, link)
            assert not fragment or unquote(fragment) in anchors[address], (page.name, link)


def test_viewer_draws_and_obeys_the_keyboard(report: Path, chromium: Chromium) -> None:
    for page in sorted((report / "viewer").glob("*.html")):
        chromium.open(page.as_uri())
        chromium.wait("document.documentElement.dataset.viewer === 'ready'")
        drawn = """(() => {
            const canvas = document.getElementById("3Dviewer");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            let bright = 0, coloured = 0, sum = 0;
            for (let i = 0; i < data.length; i += 4) {
                if (data[i] + data[i + 1] + data[i + 2] > 90) bright += 1;
                if (Math.abs(data[i] - data[i + 2]) > 60 && data[i + 2] < 200) coloured += 1;
                sum = (sum * 31 + data[i]) % 1000000007;
            }
            return [bright / (data.length / 4), coloured, sum];
        })()"""
        bright, coloured, before = chromium.run(drawn)
        # A brain fills some of the black canvas, and the planted cluster has a colour.
        assert bright > 0.05
        assert coloured > 20
        place = chromium.run("document.getElementById('place').textContent")
        chromium.run("document.getElementById('3Dviewer').focus()")
        for _ in range(3):
            chromium.press("ArrowLeft")
        assert chromium.run(drawn)[2] != before
        assert chromium.run("document.getElementById('place').textContent") != place
        chromium.run("document.querySelector('button[data-place]').click()")
        assert chromium.run("document.getElementById('place').textContent") == place


def test_rating_exports_what_the_configuration_takes(report: Path, chromium: Chromium, tmp_path: Path) -> None:
    chromium.open((report / "rating.html").as_uri())
    chromium.run("""(() => {
        const row = document.querySelector('tr[data-participant="sub-02"][data-session="ses-02"]');
        row.querySelector("input[type=checkbox]").click();
        const reason = row.querySelector("input.reason");
        reason.value = "ghost\\tin the machine";
        reason.dispatchEvent(new Event("input", { bubbles: true }));
    })()""")
    assert chromium.run("document.getElementById('count').textContent") == "1 scan is marked."
    file = tmp_path / "exclude.tsv"
    file.write_text(chromium.run("document.getElementById('text').textContent"), encoding="utf-8")
    assert read_exclusions(file) == {"sub-02_ses-02": "ghost in the machine"}


def test_sessions_alternate_on_one_spot(report: Path, chromium: Chromium) -> None:
    chromium.open((report / "sub-02.html").as_uri())
    shown = "getComputedStyle(document.querySelector('.flicker .top')).opacity"
    assert chromium.run(shown) == "0"
    chromium.run("document.querySelector('.flicker input[value=this]').click()")
    assert chromium.run(shown) == "1"


def test_nothing_but_tables_is_wider_than_a_phone(report: Path, chromium: Chromium) -> None:
    metrics = {"width": PHONE_WIDTH, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    chromium.ask("Emulation.setDeviceMetricsOverride", **metrics)
    try:
        for page in pages(report):
            chromium.open(page.as_uri())
            assert chromium.run("document.documentElement.scrollWidth") <= PHONE_WIDTH, page.name
    finally:
        chromium.ask("Emulation.clearDeviceMetricsOverride")


def test_readers_of_screens_find_their_way(report: Path, chromium: Chromium) -> None:
    for page in pages(report):
        chromium.open(page.as_uri())
        assert chromium.run("document.documentElement.lang") == "en", page.name
        assert chromium.run("document.title.length > 0"), page.name
        assert chromium.run("document.querySelectorAll('main').length") == 1, page.name
        # nilearn keeps its raw pictures in the page, hidden from everybody.
        nameless = chromium.run("""[...document.querySelectorAll("img, canvas, input, button, iframe, a[href]")]
            .filter(one => one.checkVisibility())
            .filter(one => !(one.alt || one.title || one.getAttribute("aria-label") || one.textContent.trim()))
            .filter(one => !(one.labels && one.labels.length))
            .map(one => one.outerHTML.slice(0, 120))""")
        assert nameless == [], page.name


def test_pages_are_small(report: Path) -> None:
    def size(*places: Path) -> int:
        return sum(file.stat().st_size for place in places for file in [place, *place.rglob("*")] if file.is_file())

    assert size(report / "index.html", report / "figures/study", report / "viewer") < LARGEST_STUDY
    for person in ("sub-01", "sub-02"):
        assert size(report / f"{person}.html", report / f"figures/{person}") < LARGEST_PERSON
