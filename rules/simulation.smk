rule planted_vs_found:
    """What a simulation planted against what the statistics found, and a contrast with nothing planted."""
    input:
        clusters=paths.clusters,
        families=paths.families,
        effects=study.truth_files,
    output:
        found=paths.found,
        control=paths.control,
        text=paths.found_text,
    log:
        log_of("planted_vs_found"),
    resources:
        mem_mb=growing(500),
        runtime=5,
    params:
        code=code("planted_vs_found"),
        resolution=study.config["space"]["resolution"],
        cluster_p=study.config["inference"]["cluster_p"],
    script:
        "../scripts/planted_vs_found.py"
