"""Regional ages and labels on fsaverage5 → pictures and GIFTI files of the gaps of every person and group."""

from plastimap.brainage.modelled import groups_of
from plastimap.brainage.pictures import write_people
from plastimap.brainage.storage import read_card
from plastimap.brainage.surface import region_vertices
from plastimap.brainage.tables import read_text_table
from plastimap.jobs import job_log

with job_log(snakemake.log[0]):
    card, files = read_card(snakemake.input.card), {"L": snakemake.input.left, "R": snakemake.input.right}
    regions = [tuple(region) for region in card["regions"]]
    vertices = region_vertices(files, card["parcels"], regions)
    groups = groups_of(read_text_table(snakemake.input.people))
    ages = read_text_table(snakemake.input.ages)
    scans = write_people(snakemake.output[0], ages, vertices, regions, groups=groups)
    print(f"{scans} scans on the surface")
