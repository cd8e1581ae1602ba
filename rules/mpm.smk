for kind in study.mpm_kinds:

    rule:
        """Echoes and B1+ to R1, R2*, MTsat and PD, as far as the weightings of a scan allow."""
        name:
            f"mpm_{kind.name}"
        input:
            echoes=study.echo_files,
            b1=study.b1_files,
        output:
            maps=[paths.native(name) for name in kind.members],
            sidecars=[sidecar_of(paths.native(name)) for name in kind.members],
            qa=paths.mpm_qa,
        log:
            log_of("mpm", *SCAN),
        benchmark:
            benchmark_of("mpm", *SCAN)
        wildcard_constraints:
            scan=kind.scans,
        resources:
            mem_mb=growing(3000),
            runtime=30,
        params:
            code=code("mpm"),
            maps=kind.members,
            protocol=study.protocol,
            settings=study.settings("mpm"),
        script:
            "../scripts/mpm.py"
