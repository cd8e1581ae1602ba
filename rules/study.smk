rule describe:
    """Say what this folder is: dataset description, .bidsignore, README."""
    input:
        paths.plan,
    output:
        description=paths.description,
        ignore=".bidsignore",
        readme="README.md",
    log:
        log_of("describe"),
    resources:
        mem_mb=growing(500),
        runtime=5,
    params:
        code=code("describe"),
        raw=study.config["bids_dir"],
    script:
        "../scripts/describe.py"


rule cohort:
    """Gather scans, days, TIV, quality and covariates into two tables."""
    input:
        qa=study.cohort_quality_files,
        participants=study.participants_file,
        behaviour=study.behaviour_fits,
    output:
        scans=paths.scans,
        participants=paths.cohort,
    log:
        log_of("cohort"),
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        code=code("cohort"),
        contents=study.contents(study.participants_file),
        days=study.days,
        labels=study.label_columns,
    script:
        "../scripts/cohort.py"
