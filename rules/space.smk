rule person_template:
    """All sessions of a person to an unbiased midpoint image."""
    input:
        structural=study.person_files(paths.structural),
        masks=study.person_files(paths.mask),
        GM=study.person_files(paths.tissue("GM")),
        WM=study.person_files(paths.tissue("WM")),
        lesions=study.lesion_files,
    output:
        template=paths.template,
        tissues=[paths.template_tissue(name) for name in ANALYSED_TISSUES],
        transforms=directory(paths.template_transforms),
    log:
        log_of("person_template", "sub-{subject}"),
    benchmark:
        benchmark_of("person_template", "sub-{subject}")
    resources:
        mem_mb=growing(4000),
        runtime=120,
    params:
        code=code("person_template"),
        contents=study.contents(study.lesion_files),
        contrast=paths.contrast,
        members=study.members_of,
    script:
        "../scripts/person_template.py"


rule study_template:
    """Template of all people's tissues, and the way from it to the target space."""
    input:
        target=study.target_files,
        GM=study.every_person(paths.template_tissue("GM")),
        WM=study.every_person(paths.template_tissue("WM")),
    output:
        tissues=expand(paths.study_tissue, tissue=ANALYSED_TISSUES),
        warps=[paths.study_to_target, paths.study_from_target],
    log:
        log_of("study_template"),
    benchmark:
        benchmark_of("study_template")
    resources:
        mem_mb=growing(4000),
        runtime=600,
    params:
        code=code("study_template"),
        contents=study.contents(study.target_files),
        space=study.config["space"],
    script:
        "../scripts/study_template.py"


rule person_to_target:
    """Register a person's midpoint image to the target space, through the study's template where there is one."""
    input:
        study_tissues=study.study_template["study_tissues"],
        study_warps=study.study_template["study_warps"],
        template=paths.template,
        tissues=[paths.template_tissue(name) for name in ANALYSED_TISSUES],
        lesions=study.lesion_files,
        target=study.target_files,
    output:
        warps=[paths.to_target, paths.from_target],
    log:
        log_of("person_to_target", "sub-{subject}"),
    benchmark:
        benchmark_of("person_to_target", "sub-{subject}")
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("person_to_target"),
        contents=study.contents(study.lesion_files, study.target_files),
        space=study.config["space"],
    script:
        "../scripts/person_to_target.py"


rule session_to_template:
    """A session's warp from the midpoint and its Jacobian; a session that joins later is registered here."""
    input:
        template=study.of_person(paths.template),
        transforms=study.of_person(paths.template_transforms),
        structural=paths.structural,
        mask=paths.mask,
        lesions=study.joining_lesions,
    output:
        warp=paths.to_template,
        inverse=paths.from_template,
        jacobian=paths.jacobian,
    log:
        log_of("session_to_template", *SCAN),
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        code=code("session_to_template"),
        contents=study.contents(study.joining_lesions),
        contrast=paths.contrast,
    script:
        "../scripts/session_to_template.py"


for kind in study.target_kinds:

    rule:
        """Every map and tissue of a scan to the target grid: one composed warp, one interpolation."""
        name:
            f"to_target_{kind.name}"
        input:
            maps=study.map_files,
            tissues=[paths.tissue(name) for name in TISSUES],
            template_tissues=study.of_person(
                *map(paths.template_tissue, ANALYSED_TISSUES)
            ),
            session=paths.to_template,
            jacobian=paths.jacobian,
            person=study.of_person(paths.to_target),
            dwi=study.dwi_transform,
            lesions=study.scan_lesion_files,
            target=study.target_files,
        output:
            maps=[paths.warped(name) for name in kind.members],
            tissues=[paths.warped_tissue(name) for name in TISSUES],
            modulated=[paths.modulated(name) for name in ANALYSED_TISSUES],
            qa=paths.space_qa,
        log:
            log_of("to_target", *SCAN),
        benchmark:
            benchmark_of("to_target", *SCAN)
        wildcard_constraints:
            scan=kind.scans,
        resources:
            mem_mb=growing(3000),
            runtime=20,
        params:
            code=code("to_target"),
            contents=study.contents(
                study.map_files, study.scan_lesion_files, study.target_files
            ),
            maps=kind.members,
            space=study.config["space"],
        script:
            "../scripts/to_target.py"
