"""What a simulation planted against what the statistics found, and a contrast with nothing planted."""

import pandas as pd

from plastimap.jobs import job_log
from plastimap.simulate.compare import control_contrasts, control_table, found_text, planted_vs_found
from plastimap.writing import write_table, write_text

with job_log(snakemake.log[0]):
    read = {"sep": "\t", "na_values": ["n/a"]}
    effects = pd.read_csv(snakemake.input.effects[0], **read)
    clusters = pd.read_csv(snakemake.input.clusters, **read)
    families = pd.read_csv(snakemake.input.families, **read)
    alpha, margin = snakemake.params.cluster_p, 2 * snakemake.params.resolution
    found = planted_vs_found(effects, clusters, alpha=alpha, max_distance_mm=margin)
    contrasts = control_contrasts(effects, families)
    control = pd.concat(
        [control_table(clusters, contrast=name, alpha=alpha) for name in contrasts] or [clusters.head(0)]
    )
    write_table(snakemake.output.found, found)
    write_table(snakemake.output.control, control)
    write_text(snakemake.output.text, found_text(found, control, families, contrasts))
