rule person_report:
    """A page per person: every stage's pictures, quality and notes."""
    input:
        study.person_report_files,
    output:
        page=report(
            paths.person_page,
            caption="../workflow/report/person.rst",
            category="People",
        ),
        figures=directory(paths.person_figures),
    log:
        log_of("person_report", "sub-{subject}"),
    resources:
        mem_mb=growing(2000),
        runtime=15,
    params:
        code=code("person_report", "workflow/report/*.*"),
        contents=study.contents(study.participants_file),
        title=study.config["report"]["title"],
    script:
        "../scripts/person_report.py"


rule study_report:
    """The study's page: cohort, design, results, safeguards, methods."""
    input:
        study.study_report_files,
    output:
        page=report(
            paths.report, caption="../workflow/report/study.rst", category="Study"
        ),
        figures=report(
            directory(paths.study_figures),
            patterns=["{figure}.svg", "{figure}.png"],
            caption="../workflow/report/figure.rst",
            category="Study",
            subcategory="Figures",
            labels={"figure": "{figure}"},
        ),
        rating=report(
            paths.rating, caption="../workflow/report/rating.rst", category="Study"
        ),
        viewers=report(
            directory(paths.viewers),
            patterns=["{map}.html"],
            caption="../workflow/report/viewer.rst",
            category="Study",
            subcategory="Result maps",
            labels={"map": "{map}"},
        ),
        paper=report(
            directory(paths.paper),
            patterns=["{table}.html"],
            caption="../workflow/report/paper.rst",
            category="Paper",
            labels={"table": "{table}"},
        ),
    log:
        log_of("study_report"),
    resources:
        mem_mb=growing(3000),
        runtime=30,
    params:
        code=code("study_report", "workflow/report/*.*"),
        title=study.config["report"]["title"],
    script:
        "../scripts/study_report.py"
