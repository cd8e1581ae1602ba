"""What a run makes of regional brain age: inputs and targets of its rules. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from plastimap.paths import Paths

STAGE = "brainage"

Section = Mapping[str, Any]


class BrainagePlan:
    """Files of the stage.

    Parameters
    ----------
    config : mapping
        The study's configuration.
    paths : Paths
    scans : sequence of str
        Labels of the scans in the target space, for parcel means of their maps.
    maps : callable
        Scan's label → maps of it in the target space.
    """

    def __init__(
        self, config: Mapping[str, Any], paths: Paths, scans: list[str], maps: Callable[[str], list[str]]
    ) -> None:
        self.section: Section = config["brainage"]
        self.paths = paths
        self._scans, self._maps = scans, maps
        self._stages = config["stages"]

    @property
    def from_maps(self) -> bool:
        """Whether parcels are means of the run's own maps."""
        return self.section["table"] is None and self.section["labels"] is not None

    @property
    def active(self) -> bool:
        """Whether anything is to be made: it can be, and it is asked for."""
        return self.possible and (self._stages == "auto" or STAGE in self._stages)

    @property
    def possible(self) -> bool:
        """Whether there is a table of parcels, or labels and scans to take means of."""
        return self.section["table"] is not None or (self.from_maps and bool(self.scans))

    @property
    def judged(self) -> bool:
        """Whether ages are predicted: there is a model, or people to train one on."""
        return self.active and (self.section["model"] is not None or self.section["training"] is not None)

    @property
    def scans(self) -> list[str]:
        """Labels of scans that have every map that is asked for."""
        wanted = {name for name in self.section["maps"] if name != "vbm"}
        return [label for label in self._scans if wanted <= set(self._maps(label))]

    @property
    def targets(self) -> list[str]:
        """Final files."""
        if not self.active:
            return []
        made = [self.table, *(self.parcels if self.from_maps else [])]
        if self.judged:
            made += [self.paths.brainage_ages, self.paths.brainage_statistics]
            made += [self.paths.brainage_surfaces] if self.on_surface else []
        return made

    @property
    def on_surface(self) -> bool:
        """Whether there are labels on the surface to draw ages on."""
        return bool(self.section["surface_left"] and self.section["surface_right"])

    @property
    def report_files(self) -> list[str]:
        """What the report shows."""
        paths = self.paths
        shown = [paths.brainage_ages, paths.brainage_people, paths.brainage_notes, paths.brainage_statistics]
        shown += [*self.optional("surface_left"), *self.optional("surface_right")]
        return [*shown, self.card] if self.judged else []

    @property
    def table(self) -> str:
        """The table of parcels of the people to judge."""
        return self.section["table"] or self.paths.brainage_table

    @property
    def parcels(self) -> list[str]:
        """Table of parcels, and of edges where there is one."""
        if self.from_maps:
            return [self.paths.brainage_parcels, self.paths.brainage_edges]
        return [self.section[key] for key in ("parcels", "edges") if self.section[key]]

    @property
    def model(self) -> str:
        """The model: given, or trained here."""
        return self.section["model"] or self.paths.brainage_model

    @property
    def card(self) -> str:
        """The model's card."""
        return self.model.removesuffix(".safetensors") + ".json"

    def optional(self, key: str) -> list[str]:
        """A file that the configuration may name."""
        return [self.section[key]] if self.section[key] else []

    @property
    def means(self) -> list[str]:
        """Parcel means of every scan."""
        return [self.paths.at(self.paths.brainage_means, label) for label in self.scans]

    @property
    def scan_lesions(self) -> list[str]:
        """Lesioned shares of every scan."""
        return [self.paths.at(self.paths.brainage_scan_lesions, label) for label in self.scans]

    @property
    def lesions(self) -> list[str]:
        """The table of lesioned shares: given, or made of the masks beside the images."""
        return self.optional("lesions") or ([self.paths.brainage_lesions] if self.from_maps else [])

    @property
    def warped(self) -> list[str]:
        """Patterns of a scan's images in the target space: one per map."""
        return [
            self.paths.modulated("GM") if name == "vbm" else self.paths.warped(name) for name in self.section["maps"]
        ]

    @property
    def training_settings(self) -> dict[str, Any]:
        """What training depends on."""
        names = ("method", "covariates", "harmonise", "whole_graph", "seed")
        return {name: self.section[name] for name in names}
