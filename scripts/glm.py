"""Longitudinal model of one map in one tissue."""

from plastimap.groupfiles import read_tables, save_maps
from plastimap.images import read_volume
from plastimap.jobs import job_log
from plastimap.stats.analysis import analyse
from plastimap.stats.asymmetry import sides_of
from plastimap.stats.preservation import asked_preservation
from plastimap.stats.settings import analysis_settings
from plastimap.stats.tables import model_summary
from plastimap.stats.timecourses import compare_courses
from plastimap.writing import write_json, write_table

with job_log(snakemake.log[0]):
    model, inference, wanted = snakemake.params.model, snakemake.params.inference, snakemake.wildcards
    scans, participants = read_tables(
        snakemake.input.scans,
        snakemake.input.participants,
        labels=snakemake.params.labels,
        model=model,
        map_name=wanted.map,
    )
    volumes, errors, (mask, search) = (
        [read_volume(file) for file in files]
        for files in (snakemake.input.images, snakemake.input.errors, (snakemake.input.mask, snakemake.input.search))
    )
    sides = sides_of(volumes, mask, search, errors=errors, difference=model["asymmetry"])
    result = analyse(
        sides.maps,
        scans,
        participants,
        map_name=wanted.map,
        tissue=wanted.tissue,
        affine=mask.affine,
        **sides.arguments,
        **analysis_settings(model, inference, minimum_subjects=snakemake.params.minimum_subjects),
    )
    preserved = asked_preservation(sides, scans, participants, model)
    save_maps(snakemake.output.maps, result, bayes_scale=inference["bayes_scale"])
    write_table(snakemake.output.trajectories, result.cluster_scans)
    write_table(snakemake.output.courses, compare_courses(result.cluster_scans, knots=model["rival_knots"]))
    write_table(snakemake.output.preservation, preserved.people)
    write_json(snakemake.output.model, model_summary(result, preserved))
    write_table(snakemake.output.families, result.families)
    write_table(snakemake.output.clusters, result.clusters)
