rule behaviour:
    """Responses or assessments to learning curves and the tests on them."""
    input:
        tables=study.behaviour_tables,
        participants=study.participants_file,
        training=study.training_file,
    output:
        tidy=paths.behaviour_tidy,
        fits=paths.behaviour_fits,
        tests=paths.behaviour_tests,
        sides=paths.behaviour_sides,
        training=paths.training,
    log:
        log_of("behaviour"),
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        code=code("behaviour"),
        contents=study.contents(
            study.behaviour_tables, study.participants_file, study.training_file
        ),
        settings=study.config["behaviour"],
        labels=study.label_columns,
        days=study.days,
    script:
        "../scripts/behaviour.py"
