"""Methods text for a paper, written from the configuration that was run.

Each stage has one function that returns its sentences. ``[@key]`` cites
:data:`plastimap.report.references.REFERENCES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from plastimap.report.anatomy_methods import anatomy_sentences, space_sentences
from plastimap.report.brainage_methods import brainage_sentences
from plastimap.report.layout import latex_text
from plastimap.report.references import REFERENCES, Reference

Config = Mapping[str, Any]

_CITATION = re.compile(r" ?\[@([a-z0-9,]+)\]")


@dataclass(frozen=True)
class Methods:
    """A methods section.

    Attributes
    ----------
    paragraphs : tuple of (heading, text)
        Text with ``[@key,key]`` citations.
    keys : tuple of str
        Cited references, in order of appearance: number 1 comes first.
    """

    paragraphs: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """The cited papers, in order."""
        return tuple(REFERENCES[key] for key in self.keys)

    @property
    def markdown(self) -> str:
        """The section as Markdown, with numbered references."""
        parts = [f"**{heading}.** {_CITATION.sub(self._bracket, text)}" for heading, text in self.paragraphs]
        entries = [f"{number}. {reference.text} {reference.url}".rstrip()
                   for number, reference in enumerate(self.references, start=1)]  # fmt: skip
        return "\n\n".join(parts) + "\n\n**References**\n\n" + "\n".join(entries) + "\n"

    @property
    def html(self) -> Markup:
        """The paragraphs as HTML; citations link to ``#ref-<key>``."""
        parts = [f"<p><strong>{escape(heading)}.</strong> {_CITATION.sub(self._link, str(escape(text)))}</p>"
                 for heading, text in self.paragraphs]  # fmt: skip
        return Markup("\n".join(parts))  # noqa: S704 - text and headings are escaped above, links are ours

    @property
    def latex(self) -> str:
        """The section as LaTeX, citing ``references.bib``."""
        parts = [rf"\paragraph{{{latex_text(heading)}.}} " + _in_latex(text) for heading, text in self.paragraphs]
        return "\n\n".join(["% Needs: \\bibliography{references}", *parts]) + "\n"

    @property
    def bibtex(self) -> str:
        """The cited papers as BibTeX."""
        return "\n".join(reference.bibtex(key) for key, reference in zip(self.keys, self.references, strict=True))

    def files(self) -> dict[str, bytes]:
        """``methods.md``, ``methods.html``, ``methods.tex`` and ``references.bib``."""
        from plastimap.report.pages import render

        page = render("methods.html.j2", folder="paper", methods=self)
        texts = {"methods.md": self.markdown, "methods.html": page, "methods.tex": self.latex,
                 "references.bib": self.bibtex}  # fmt: skip
        return {name: text.encode() for name, text in texts.items()}

    def _numbers(self, found: re.Match[str]) -> list[tuple[str, int]]:
        return [(key, self.keys.index(key) + 1) for key in found[1].split(",")]

    def _bracket(self, found: re.Match[str]) -> str:
        return " [" + ", ".join(str(number) for _, number in self._numbers(found)) + "]"

    def _link(self, found: re.Match[str]) -> str:
        links = ",".join(f'<a href="#ref-{key}">{number}</a>' for key, number in self._numbers(found))
        return f"<sup>{links}</sup>"


def _in_latex(text: str) -> str:
    pieces = _CITATION.split(text)
    # Splitting by a pattern with one group leaves text and keys in turn.
    return "".join(rf"~\cite{{{piece}}}" if number % 2 else latex_text(piece) for number, piece in enumerate(pieces))


def methods_text(
    config: Config,
    stages: Collection[str],
    *,
    contrast: str = "",
    version: str = "",
    anatomy: Mapping[str, int] | None = None,
) -> Methods:
    """Write the methods section of what was run.

    Parameters
    ----------
    config : mapping
        The effective configuration.
    stages : collection of str
        Stages that ran (keys of :data:`plastimap.report.inputs.STAGE_NAMES`); others are not described.
    contrast : str
        Structural contrast of the study, where known.
    version : str
        Of PlastiMap.
    anatomy : mapping of str to int, optional
        As :func:`plastimap.report.anatomy_methods.anatomy_counts` gives it.

    Returns
    -------
    `Methods`
        Paragraphs and references.

    Raises
    ------
    KeyError
        When the configuration lacks a section that a stage needs: it is not an effective configuration.
    """
    known = {**config, "_contrast": contrast, "_anatomy": anatomy or {}}
    paragraphs = [("Processing", _frame(version))]
    for stage, (heading, write) in _WRITERS.items():
        if stage in stages:
            paragraphs.append((heading, " ".join(write(known))))
    keys = [key for _, text in paragraphs for found in _CITATION.findall(text) for key in found.split(",")]
    return Methods(tuple(paragraphs), tuple(dict.fromkeys(keys)))


def _frame(version: str) -> str:
    name = f"PlastiMap {version}".strip()
    return (
        f"Images were organised in the Brain Imaging Data Structure [@gorgolewski2016] and processed with {name}, "
        "a Snakemake workflow [@molder2021] built on NumPy [@harris2020] and SciPy [@virtanen2020]."
    )


def _mpm(config: Config) -> list[str]:
    mpm = config["mpm"]
    estimator = {
        "ols": "ordinary least squares",
        "wls1": "weighted least squares (one iteration)",
        "wls2": "weighted least squares (two iterations)",
        "wls3": "weighted least squares (three iterations)",
        "robust": "weighted least squares with Tukey's biweight",
    }[mpm["r2s_fit"]]
    angle = (
        "in the small flip angle approximation" if mpm["small_angle"] else "without a small flip angle approximation"
    )
    sentences: list[str] = []
    if mpm["denoise"]:
        sentences.append("Echoes were denoised by Marchenko-Pastur principal components [@veraart2016].")
    if mpm["align"]:
        sentences.append("T1- and MT-weighted echoes were aligned rigidly to the PD-weighted ones [@yushkevich2016].")
    if mpm["model"] == "joint":
        sentences.append(
            "The effective transverse relaxation rate R2*, the longitudinal relaxation rate R1, the signal amplitude "
            "and the magnetisation transfer saturation (MTsat) were estimated together from all echoes by maximum "
            "likelihood under Rician noise [@gudbjartsson1995] and the spoiled gradient echo signal equation."
        )
    else:
        sentences += [
            "The effective transverse relaxation rate R2* was estimated from the log signal of all echoes of all "
            f"weightings together (ESTATICS [@weiskopf2014]) by {estimator}.",
            "Signals extrapolated to an echo time of zero gave the longitudinal relaxation rate R1 and the signal "
            f"amplitude from the rational approximation of the Ernst equation [@helms2008t1,tabelow2019] {angle}, and "
            "the magnetisation transfer saturation (MTsat) [@helms2008] where MT-weighted images were acquired.",
        ]
    if mpm["spoiling"]["correct"]:
        sentences.append(
            "R1 was corrected for imperfect spoiling [@preibisch2009] by a simulation of the protocol (radio-frequency "
            f"phase increment {mpm['spoiling']['phase_increment_deg']:g}°)."
        )
    sentences.append("Proton density was calibrated to 69 percent units in white matter.")
    constant = mpm["b1_constant"]
    if mpm["b1_correction"] == "none":
        sentences.append("MTsat was not corrected for the transmit field.")
    else:
        usual = {"helms": 0.4, "lipp": 1.2}.get(mpm["b1_correction"])
        sentences.append(
            "Where a transmit field (B1+) map was measured, flip angles were scaled by it, and residual dependence of "
            f"MTsat on it was removed ({mpm['b1_correction']} correction, C = "
            f"{usual if constant is None else constant}) "
            "[@tabelow2019]."
        )
    return sentences


def _dwi(config: Config) -> list[str]:
    dwi = config["dwi"]
    sentences: list[str] = []
    if dwi["denoise"]:
        sentences.append(
            "Diffusion-weighted volumes were denoised by principal components of the noise (MP-PCA) [@veraart2016]."
        )
    if dwi["unring"]:
        sentences.append("Gibbs ringing was removed by local subvoxel shifts [@kellner2016].")
    if dwi["motion"] == "eddy":
        sentences.append(
            "Motion and eddy currents were corrected by FSL's eddy [@andersson2016], with replacement of outliers "
            "[@andersson2016outliers] and rotation of the b-vectors."
        )
    elif dwi["motion"]:
        sentences.append(
            "They were aligned to predictions from the other volumes of their shell [@andersson2015], rigidly and, "
            "where the phase encoding direction was known, with linear eddy-current distortions along it; lost slices "
            "were replaced by their prediction [@andersson2016outliers], b-vectors rotated accordingly "
            "[@leemans2009], and each volume was interpolated once."
        )
    sentences.append(_SUSCEPTIBILITY[dwi["susceptibility"]])
    if dwi["drift"]:
        sentences.append("Signal drift over the series was removed as the b = 0 volumes showed it [@vos2017].")
    fit = {
        "ols": "ordinary linear least squares",
        "wls": "weighted linear least squares [@veraart2013]",
        "iwls": "iteratively weighted linear least squares [@veraart2013]",
        "robust": "iteratively weighted linear least squares without outlying volumes [@collier2015]",
    }[dwi["fit"]]
    sentences.append(
        f"The diffusion tensor [@basser1994] was fitted by {fit} to volumes with b ≤ {dwi['max_bval']:g} s/mm², or to "
        "all where too few directions remained "
        f"(b = 0: ≤ {dwi['b0_threshold']:g} s/mm²), giving fractional anisotropy (FA) and mean, axial and radial "
        "diffusivity (MD, AD, RD)."
    )
    if dwi["free_water"]:
        sentences.append(
            "Where two shells were measured, a compartment of free water was fitted beside the tensor [@hoy2014]."
        )
    return sentences


_BY_PAIR = (
    "a displacement along the phase-encoding axis under which b = 0 images of opposite phase encoding agree "
    "[@ruthotto2012]"
)
_BY_FIELD = "a field map, unwrapped along its most reliable paths [@abdulrahman2007]"
_WITH_GAIN = "with the gain of intensity that goes with it and without a further interpolation of aligned volumes."

_SUSCEPTIBILITY = {
    "none": "Susceptibility distortions were not corrected.",
    "auto": f"Susceptibility distortions were corrected by {_BY_PAIR}, where there were such images, else by "
    f"{_BY_FIELD}, where there was one, {_WITH_GAIN}",
    "reversed": f"Susceptibility distortions were corrected by {_BY_PAIR}, {_WITH_GAIN}",
    "field_map": f"Susceptibility distortions were corrected by {_BY_FIELD}, {_WITH_GAIN}",
}


def _smooth(config: Config) -> list[str]:
    kernels = config["smoothing"]

    def both(kind: str) -> str:
        return f"{kernels[kind]['GM']:g} mm in grey and {kernels[kind]['WM']:g} mm in white matter"

    return [
        "Quantitative maps were smoothed inside each tissue (tissue-weighted smoothing [@draganski2011]) with Gaussian "
        f"kernels of full width at half maximum {both('mpm')} (multi-parameter maps), and {both('dwi')} "
        "(diffusion maps); "
        f"tissue volumes with {both('vbm')}."
    ]


def _behaviour(config: Config) -> list[str]:
    behaviour = config["behaviour"]
    outcomes = ", ".join(str(name) for name in behaviour["outcomes"])
    end, later = behaviour["retention_days"]
    return [
        "Learning curves y(t) = α − δ·exp(−γt) [@heathcote2000] were fitted to each person and outcome "
        f"({outcomes}) by "
        "bounded least squares, with t in days since baseline; α is the plateau, δ the improvement, γ the rate. Left "
        "and right were averaged after a test for differences between them (rank-sum and signed-rank).",
        "Beside each person's own fit, all people were fitted together by a nonlinear mixed model, with plateau and "
        "start normal on a logit or log scale and log γ normal between people (expectation-maximisation with adaptive "
        "Gauss-Hermite quadrature [@pinheiro1995]; standard errors by a jackknife over people [@jiang2002]).",
        "Own fits were tested: δ by Wilcoxon's signed-rank test, baseline, plateau, improvement and rate between "
        f"groups by rank-sum tests, and retention by signed-rank tests of day {end:g} against day {later:g}.",
    ]


def _glm(config: Config) -> list[str]:
    model, inference, masks = config["model"], config["inference"], config["masks"]
    coding = {
        "raw": "raw powers of the day",
        "quadratic_after_linear": "the quadratic term orthogonalised with respect to the linear one",
        "linear_after_quadratic": "the linear term orthogonalised with respect to the quadratic one",
        "piecewise": f"slopes that may change at day {listed([f'{day:g}' for day in model['knots']])}",
    }[model["coding"]]
    constant = "" if model["coding"] in ("raw", "piecewise") else (
        ", the constant taking part" if model["centre_days"] else ", the constant not taking part")  # fmt: skip
    covariates = listed([str(name).upper() if name == "tiv" else str(name) for name in model["covariates"]])
    groups = f"groups ({model['group']})" if model["group"] else "one group"
    time = f"{listed(model['terms'])}; days since baseline, {coding}{constant}"
    design = groups + (f" and the covariates {covariates}" if covariates else "")
    regions = listed([str(roi.get("name", "region")) for roi in config["rois"]])
    volume = f"{regions}, combined" if regions else "the whole hemisphere"
    return [
        _MODELS[model["method"]].format(time=time, design=design),
        *([_WEIGHTINGS[model["weighting"]]] if model["weighting"] in _WEIGHTINGS else []),
        *(["Values were differences between the hemispheres, right minus left."] if model["asymmetry"] else []),
        f"Voxels were analysed where mean grey matter probability was at least {masks['GM']:g}, or white matter at "
        f"least {masks['WM']:g}, the tissue was the largest class, and at least {masks['minimum_subjects']:.0%} of "
        "people had a value.",
        f"Clusters were formed at p < {inference['cluster_forming_p']:g} (uncorrected) with at least "
        f"{inference['minimum_extent']} voxels, and tested at family-wise p < {inference['cluster_p']:g} by "
        f"{_INFERENCE[inference['method']].format(**inference)}, in one search volume per hemisphere and tissue "
        f"({volume}).",
        _FAMILIES[inference["family_correction"]],
        *_posthoc(config),
    ]


def _posthoc(config: Config) -> list[str]:
    asked = config["report"]["posthoc"]
    if not asked:
        return []
    first, second = (listed([str(group) for group in asked[side]]) for side in ("first", "second"))
    end, later = config["behaviour"]["retention_days"]
    return [
        f"Mean values inside significant clusters were compared between {first} and {second} (fitted coefficients, and "
        f"values at day {later:g}; Welch's t test) and between days {end:g} and {later:g} in {first} (paired t test), "
        "with Bayes factors for no difference under a Cauchy prior of scale 0.707 [@rouder2009], and with two "
        f"one-sided tests that a difference is within {config['report']['equivalence_sd']:g} standard deviations "
        "[@schuirmann1987]."
    ]


_MODELS: Mapping[str, str] = {
    "summary": "Change over time was summarised in each person and voxel by least squares ({time}). These coefficients "
    "entered a general linear model with {design}.",
    "robust": "Change over time was summarised in each person and voxel by least squares ({time}). These coefficients "
    "entered a linear model with {design}, fitted by Huber's M-estimator.",
    "pooled": "All scans entered one general linear model ({time}) with {design}; the covariance of a person's visits "
    "was pooled over voxels and estimated by restricted maximum likelihood [@friston2002].",
    "sandwich": "All scans entered one linear model ({time}) with {design}, whose errors were judged by the sandwich "
    "estimator [@guillaume2014].",
    "mixed": "All scans entered a linear mixed model ({time}) with {design} and a random intercept and slope of every "
    "person [@bernalrusiel2013].",
}
_WEIGHTINGS: Mapping[str, str] = {
    "visits": "Where visits were missing, people counted by the precision that their visits allow, the share of "
    "noise within people being estimated by restricted maximum likelihood.",
    "groups": "Groups were allowed unequal variances.",
    "motion": "Scans counted by their motion index, with variances estimated by restricted maximum likelihood "
    "[@lutti2022].",
    "errors": "Scans of multi-parameter maps counted by the standard errors of these maps, carried through smoothing; "
    "the share of such errors in the variance was estimated by restricted maximum likelihood.",
}
_INFERENCE: Mapping[str, str] = {
    "random_field": "random field theory [@friston1994,worsley1996] with smoothness from standardised residuals "
    "[@kiebel1999]",
    "local_random_field": "random field theory [@friston1994,worsley1996] with local smoothness from standardised "
    "residuals [@hayasaka2004]",
    "permutation": "{resamples} permutations of people [@winkler2014] of the largest cluster ({statistic})",
    "wild_bootstrap": "{resamples} wild bootstrap samples [@guillaume2019] of the largest cluster ({statistic})",
}
_ACROSS = "Across maps, tissues, hemispheres, terms and directions, p values were corrected by "
_FAMILIES: Mapping[str, str] = {
    "holm": _ACROSS + "Holm's method [@holm1979].",
    "bonferroni": _ACROSS + "Bonferroni's method.",
    "fdr": _ACROSS + "the false discovery rate [@benjamini1995].",
    "min_p": _ACROSS + "the smallest p of all of them in the same permutations [@winkler2014].",
    "none": "No correction was made across maps, tissues, hemispheres, terms and directions.",
}


def listed(names: Sequence[str]) -> str:
    """Join names as in ``a, b and c``."""
    return ", ".join(names) if len(names) < 2 else ", ".join(names[:-1]) + " and " + names[-1]


_WRITERS: Mapping[str, tuple[str, Callable[[Config], list[str]]]] = {
    "mpm": ("Multi-parameter maps", _mpm),
    "dwi": ("Diffusion", _dwi),
    "anat": ("Tissues", anatomy_sentences),
    "space": ("Template and target space", space_sentences),
    "smooth": ("Smoothing", _smooth),
    "behaviour": ("Behaviour", _behaviour),
    "glm": ("Statistics", _glm),
    "brainage": ("Regional brain age", brainage_sentences),
}
