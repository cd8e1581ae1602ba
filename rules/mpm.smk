for kind in study.mpm_kinds:

    rule:
        """Echoes, B1+ and receive field to R1, R2*, MTsat and A, as far as the weightings of a scan allow."""
        name:
            f"mpm_{kind.name}"
        input:
            echoes=study.echo_files,
            b1=study.b1_files,
            receive=study.receive_files,
            lesions=study.scan_lesion_files,
        output:
            maps=[paths.native(name) for name in kind.members],
            errors=[paths.error(name) for name in kind.members if name in WITH_ERRORS],
            contrasts=paths.contrast_r2s,
            qa=paths.mpm_qa,
        log:
            log_of("mpm", *SCAN),
        benchmark:
            benchmark_of("mpm", *SCAN)
        wildcard_constraints:
            scan=kind.scans,
        resources:
            mem_mb=growing(3000),
            runtime=60,
        params:
            code=code("mpm"),
            contents=study.contents(
                study.echo_files,
                study.b1_files,
                study.receive_files,
                study.scan_lesion_files,
            ),
            maps=kind.members,
            protocol=study.protocol,
            settings=study.settings("mpm"),
        script:
            "../scripts/mpm.py"


for kind in study.quality_kinds:

    rule:
        """Tissues and maps to motion index, medians and flags; the amplitude to proton density."""
        name:
            f"mpm_quality_{kind.name}"
        input:
            maps=[paths.native(name) for name in kind.members],
            contrasts=paths.contrast_r2s,
            qa=paths.mpm_qa,
            mask=paths.mask,
            tissues=[paths.tissue(name) for name in TISSUES],
        output:
            pd=[paths.native("PD") for name in kind.members if name == "A"],
            qa=paths.mpm_quality,
        log:
            log_of("mpm_quality", *SCAN),
        wildcard_constraints:
            scan=kind.scans,
        resources:
            mem_mb=growing(3000),
            runtime=30,
        params:
            code=code("mpm_quality"),
            maps=kind.members,
        script:
            "../scripts/mpm_quality.py"
