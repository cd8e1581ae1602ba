rule segment:
    """Structural image to brain mask, GM, WM, CSF and intracranial volume."""
    input:
        structural=study.structural_file,
        mask=study.mask_files,
        lesions=study.scan_lesion_files,
    output:
        structural=paths.structural,
        mask=paths.mask,
        tissues=[paths.tissue(name) for name in TISSUES],
        qa=paths.anat_qa,
    log:
        log_of("segment", *SCAN),
    benchmark:
        benchmark_of("segment", *SCAN)
    resources:
        mem_mb=growing(3000),
        runtime=30,
    params:
        code=code("segment"),
        contents=study.contents(
            study.structural_file, study.mask_files, study.scan_lesion_files
        ),
        contrast=paths.contrast,
        brain_mask=study.config["anat"]["brain_mask"],
    script:
        "../scripts/segment.py"
