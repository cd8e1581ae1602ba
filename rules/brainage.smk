if study.brainage.from_maps:

    rule brainage_parcels:
        """Parcels of a volumetric study: every label of the image once per map, and those that touch."""
        input:
            labels=study.config["brainage"]["labels"],
            table=study.config["brainage"]["label_table"],
        output:
            parcels=paths.brainage_parcels,
            edges=paths.brainage_edges,
        log:
            log_of("brainage_parcels"),
        resources:
            mem_mb=growing(1000),
            runtime=5,
        params:
            code=code("brainage_parcels"),
            contents=study.contents(
                study.brainage.section["labels"], study.brainage.section["label_table"]
            ),
            maps=study.config["brainage"]["maps"],
        script:
            "../scripts/brainage_parcels.py"

    rule brainage_means:
        """Means of one scan's maps over the labels, and how much of each a lesion takes, in the target space."""
        input:
            labels=study.config["brainage"]["labels"],
            table=study.config["brainage"]["label_table"],
            maps=study.brainage.warped,
            grey_matter=paths.warped_tissue("GM"),
            lesions=study.scan_lesion_files,
            session=paths.to_template,
            person=study.of_person(paths.to_target),
        output:
            means=paths.brainage_means,
            lesions=paths.brainage_scan_lesions,
        log:
            log_of("brainage_means", *SCAN),
        resources:
            mem_mb=growing(1000),
            runtime=5,
        params:
            code=code("brainage_means"),
            contents=study.contents(
                study.brainage.section["labels"],
                study.brainage.section["label_table"],
                study.scan_lesion_files,
            ),
            maps=study.config["brainage"]["maps"],
            subject=study.subject_of,
            session=study.session_of,
        script:
            "../scripts/brainage_means.py"

    rule brainage_table:
        """Parcel means of all scans in one table with age, sex and site, and lesioned shares in another."""
        input:
            means=study.brainage.means,
            lesions=study.brainage.scan_lesions,
            people=study.brainage.optional("people") or study.participants_file,
        output:
            table=paths.brainage_table,
            lesions=paths.brainage_lesions,
        log:
            log_of("brainage_table"),
        resources:
            mem_mb=growing(500),
            runtime=5,
        params:
            code=code("brainage_table"),
            days=study.days,
            contents=study.contents(
                study.brainage.optional("people"), study.participants_file
            ),
        script:
            "../scripts/brainage_table.py"


if study.config["brainage"]["training"]:

    rule brainage_train:
        """A model of regional brain age, trained on healthy adults, with its errors on people and sites left out."""
        input:
            table=study.config["brainage"]["training"],
            parcels=study.brainage.parcels,
        output:
            model=paths.brainage_model,
            card=paths.brainage_card,
        log:
            log_of("brainage_train"),
        benchmark:
            benchmark_of("brainage_train")
        resources:
            mem_mb=growing(4000),
            runtime=120,
        params:
            code=code("brainage_train"),
            contents=study.contents(
                study.brainage.section["training"], study.brainage.parcels
            ),
            settings=study.brainage.training_settings,
            data=study.config["brainage"]["training_data"],
            licence=study.config["brainage"]["training_licence"],
            evaluate=study.config["brainage"]["evaluate"],
        script:
            "../scripts/brainage_train.py"


rule brainage_apply:
    """Regional ages of everybody, with intervals, corrected for age bias, lesions taken care of."""
    input:
        model=study.brainage.model,
        card=study.brainage.card,
        table=study.brainage.table,
        people=study.brainage.optional("people") or study.participants_file,
        controls=study.brainage.optional("controls"),
        lesions=study.brainage.lesions,
    output:
        ages=paths.brainage_ages,
        people=paths.brainage_people,
        notes=paths.brainage_notes,
    log:
        log_of("brainage_apply"),
    resources:
        mem_mb=growing(3000),
        runtime=15,
    params:
        code=code("brainage_apply"),
        contents=study.contents(
            study.brainage.model,
            study.brainage.card,
            study.brainage.table,
            study.brainage.optional("people") or study.participants_file,
            study.brainage.optional("controls"),
            study.brainage.lesions,
        ),
    script:
        "../scripts/brainage_apply.py"


rule brainage_statistics:
    """What goes with regional brain age in the cohort."""
    input:
        ages=paths.brainage_ages,
        people=paths.brainage_people,
    output:
        directory(paths.brainage_statistics),
    log:
        log_of("brainage_statistics"),
    resources:
        mem_mb=growing(1500),
        runtime=30,
    params:
        code=code("brainage_statistics"),
        poor_outcome=study.config["brainage"]["poor_outcome"],
        seed=study.config["brainage"]["seed"],
    script:
        "../scripts/brainage_statistics.py"


if study.brainage.on_surface:

    rule brainage_surfaces:
        """Regional gaps of everybody and of groups on fsaverage5: pictures, and GIFTI for other programs."""
        input:
            ages=paths.brainage_ages,
            people=paths.brainage_people,
            card=study.brainage.card,
            left=study.config["brainage"]["surface_left"],
            right=study.config["brainage"]["surface_right"],
        output:
            directory(paths.brainage_surfaces),
        log:
            log_of("brainage_surfaces"),
        resources:
            mem_mb=growing(1500),
            runtime=30,
        params:
            code=code("brainage_surfaces"),
            contents=study.contents(
                study.brainage.section["surface_left"],
                study.brainage.section["surface_right"],
            ),
        script:
            "../scripts/brainage_surfaces.py"
