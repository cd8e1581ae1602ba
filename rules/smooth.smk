for kind in study.smooth_kinds:

    rule:
        """Maps and volumes of a scan, smoothed inside each tissue."""
        name:
            f"smooth_{kind.name}"
        input:
            unpack(study.smooth_inputs),
        output:
            images=[paths.smoothed(*pair) for pair in kind.members],
        log:
            log_of("smooth", *SCAN),
        wildcard_constraints:
            scan=kind.scans,
        resources:
            mem_mb=growing(2000),
            runtime=15,
        params:
            code=code("smooth"),
            contents=study.contents(study.smooth_inputs),
            pairs=kind.members,
            maps=list(dict.fromkeys(name for name, _ in kind.members if name != "vbm")),
            resolution=study.config["space"]["resolution"],
            template=study.config["space"]["template"],
            kernels=study.config["smoothing"],
        script:
            "../scripts/smooth.py"
