"""Regional ages → the cohort's models, curves, classifiers: every one that the columns of the people allow."""

from pathlib import Path

from plastimap.brainage.statistics import cohort_statistics
from plastimap.brainage.tables import read_text_table
from plastimap.jobs import job_log
from plastimap.writing import write_json, write_table

with job_log(snakemake.log[0]):
    found = cohort_statistics(
        read_text_table(snakemake.input.ages),
        read_text_table(snakemake.input.people),
        poor_outcome=snakemake.params.poor_outcome,
        seed=snakemake.params.seed,
    )
    folder = Path(snakemake.output[0])
    for name, table in found.tables.items():
        write_table(folder / f"{name}.tsv", table)
    write_json(folder / "notes.json", {"notes": list(found.notes)})
    print("\n".join(found.notes))
