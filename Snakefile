"""PlastiMap: BIDS in, longitudinal statistics out. This file only wires; docs/tour.md shows the way round."""

from pathlib import Path

from snakemake.utils import min_version

from plastimap.bids.plan import open_study
from plastimap.paths import (
    ANALYSED_TISSUES,
    DWI_MAPS,
    SCAN,
    TISSUES,
    WILDCARDS,
    WITH_ERRORS,
    benchmark_of,
    log_of,
)
from plastimap.planning.garbage import collect_rarely
from plastimap.provenance import CodeIds

min_version("9.20")

if workflow.is_main_process:
    collect_rarely()


# The defaults of config/config.yaml lie below what --configfile and --config say.
study = open_study(
    files=workflow.config_settings.configfiles,
    settings=workflow.config_settings.config,
    refresh=workflow.is_main_process,
)
paths = study.paths
growing = study.memory
code = CodeIds(workflow.basedir)


# Used with --software-deployment-method apptainer only; built from the definition beside it.
container: str(Path(workflow.basedir, "workflow", "envs", "plastimap.sif"))


workdir: study.config["output_dir"]


wildcard_constraints:
    **WILDCARDS,


include: "rules/study.smk"
include: "rules/mpm.smk"
include: "rules/dwi.smk"
include: "rules/anat.smk"
include: "rules/space.smk"
include: "rules/smooth.smk"
include: "rules/behaviour.smk"
include: "rules/glm.smk"
include: "rules/brainage.smk"
include: "rules/simulation.smk"
include: "rules/report.smk"


localrules:
    all,
    participant,
    describe,


rule all:
    default_target: True
    input:
        study.participant_goals,
        study.group_targets,


rule participant:
    input:
        study.participant_goals,
