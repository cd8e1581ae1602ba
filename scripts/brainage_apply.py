"""People's parcels and a model → regional ages."""

from plastimap.brainage.storage import load_model
from plastimap.brainage.tables import read_parcel_table, read_text_table
from plastimap.brainage.training import judged
from plastimap.jobs import job_log
from plastimap.writing import write_json, write_table

with job_log(snakemake.log[0]):
    model = load_model(snakemake.input.model)
    people = next(iter(snakemake.input.people), None)
    table = read_parcel_table(snakemake.input.table, model.parcels, people=people)
    controls = [read_parcel_table(file, model.parcels) for file in snakemake.input.controls]
    lesions = [read_text_table(file) for file in snakemake.input.lesions]
    result = judged(model, table, controls=next(iter(controls), None), lesions=next(iter(lesions), None))
    print("\n".join(result.notes))
    write_table(snakemake.output.ages, result.table)
    write_table(snakemake.output.people, result.people)
    write_json(snakemake.output.notes, {"notes": list(result.notes), "people": len(table.people)})
