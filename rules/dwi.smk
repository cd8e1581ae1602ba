rule dwi:
    """Denoise, align, fit: a diffusion series to FA, MD, AD, RD."""
    input:
        unpack(study.dwi_files),
    output:
        maps=[paths.native(name) for name in DWI_MAPS],
        b0=paths.dwi_b0,
        mask=paths.dwi_mask,
        direction=paths.dwi_direction,
        residual=paths.dwi_residual,
        qa=paths.dwi_qa,
    log:
        log_of("dwi", *SCAN),
    benchmark:
        benchmark_of("dwi", *SCAN)
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("dwi"),
        contents=study.contents(study.dwi_files),
        settings=study.settings("dwi"),
        protocol=study.dwi_protocol,
        field=study.dwi_field_settings,
    script:
        "../scripts/dwi.py"


rule dwi_to_anat:
    """Rigid transform between a scan's diffusion and structural images."""
    input:
        b0=paths.dwi_b0,
        b0_mask=paths.dwi_mask,
        structural=paths.structural,
        mask=paths.mask,
        lesions=study.scan_lesion_files,
    output:
        transform=paths.dwi_to_anat,
        qa=paths.coreg_qa,
    log:
        log_of("dwi_to_anat", *SCAN),
    resources:
        mem_mb=growing(2000),
        runtime=15,
    params:
        code=code("dwi_to_anat"),
    script:
        "../scripts/dwi_to_anat.py"
