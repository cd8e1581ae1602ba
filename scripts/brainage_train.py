"""Healthy adults' parcels → a model of brain age and its card."""

from pathlib import Path

from plastimap.brainage.commands import read_parcels
from plastimap.brainage.model import Settings
from plastimap.brainage.tables import read_parcel_table
from plastimap.brainage.training import train_and_save
from plastimap.jobs import job_log

with job_log(snakemake.log[0]):
    settings = {**snakemake.params.settings, "covariates": tuple(snakemake.params.settings["covariates"])}
    table = read_parcel_table(snakemake.input.table, read_parcels(*map(Path, snakemake.input.parcels)))
    notes = train_and_save(
        snakemake.output.model,
        table,
        Settings(**settings),
        data=snakemake.params.data,
        licence=snakemake.params.licence,
        evaluate=snakemake.params.evaluate,
    )
    print("\n".join(notes))
