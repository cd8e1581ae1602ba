"""A page per person."""

from plastimap.jobs import job_log
from plastimap.report.load_person import load_person
from plastimap.report.person import build_person
from plastimap.report.save import write_page

with job_log(snakemake.log[0]):
    page = build_person(load_person(".", snakemake.wildcards.subject, title=snakemake.params.title))
    write_page(page, snakemake.output.page, snakemake.output.figures)
