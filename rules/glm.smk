rule group_masks:
    """Group tissue masks and the search volume of each hemisphere × tissue."""
    input:
        GM=study.every(paths.warped_tissue("GM")),
        WM=study.every(paths.warped_tissue("WM")),
        CSF=study.every(paths.warped_tissue("CSF")),
        structural=study.grid_references,
        rois=study.roi_images,
    output:
        masks=expand(paths.masks, tissue=ANALYSED_TISSUES),
        search=expand(paths.search_volumes, tissue=ANALYSED_TISSUES),
        mean=paths.mean_structural,
        qa=paths.rois_qa,
    log:
        log_of("group_masks"),
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        code=code("group_masks"),
        contents=study.contents(study.grid_references, study.roi_images),
        thresholds=study.config["masks"],
        rois=study.config["rois"],
        space=study.config["space"],
    script:
        "../scripts/group_masks.py"


rule glm:
    """Longitudinal model of one map in one tissue: terms per person, groups, contrasts, clusters."""
    input:
        images=study.glm_files,
        errors=study.glm_errors,
        scans=paths.scans,
        participants=paths.cohort,
        mask=paths.masks,
        search=paths.search_volumes,
    output:
        clusters=paths.glm_clusters,
        families=paths.glm_families,
        model=paths.glm_model,
        trajectories=paths.glm_trajectories,
        courses=paths.glm_courses,
        preservation=paths.glm_preservation,
        maps=directory(paths.glm_maps),
    log:
        log_of("glm", "{map}_{tissue}"),
    benchmark:
        benchmark_of("glm", "{map}_{tissue}")
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("glm"),
        contents=study.contents(study.glm_files, study.glm_errors),
        labels=study.glm_scans,
        model=study.config["model"],
        inference=study.config["inference"],
        minimum_subjects=study.config["masks"]["minimum_subjects"],
    script:
        "../scripts/glm.py"


rule families:
    """All clusters of the study in one table, corrected across every family that was tested."""
    input:
        clusters=study.glm_tables(paths.glm_clusters),
        families=study.glm_tables(paths.glm_families),
        maps=study.glm_tables(paths.glm_maps),
    output:
        clusters=paths.clusters,
        families=paths.families,
    log:
        log_of("families"),
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        code=code("families"),
        method=study.config["inference"]["family_correction"],
    script:
        "../scripts/families.py"
