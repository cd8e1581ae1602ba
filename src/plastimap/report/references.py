"""Literature that the methods text cites."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A paper.

    Attributes
    ----------
    text : str
        Authors, year, title, journal.
    doi : str
        Without ``https://doi.org/``; empty where the paper has none.
    """

    text: str
    doi: str = ""

    @property
    def url(self) -> str:
        """Link to the paper, or an empty string."""
        return f"https://doi.org/{self.doi}" if self.doi else ""

    def bibtex(self, key: str) -> str:
        """The paper as a BibTeX entry.

        >>> print(Reference("Holm S (1979). A test. Journal 6, 65–70.").bibtex("holm1979"))
        @article{holm1979,
          author = {Holm, S},
          year = {1979},
          title = {{A test}},
          journal = {Journal},
          volume = {6},
          pages = {65--70}
        }
        <BLANKLINE>
        """
        found = _PARTS.fullmatch(self.text)
        if found is None:
            fields = {"note": self.text}
        else:
            fields = found.groupdict() | {"author": _bibtex_authors(found["author"]), "title": f"{{{found['title']}}}"}
            fields["pages"] = found["pages"].replace("–", "--")
        if self.doi:
            fields["doi"] = self.doi
        lines = ",\n".join(f"  {name} = {{{_bibtex_text(value)}}}" for name, value in fields.items())
        return f"@article{{{key},\n{lines}\n}}\n"


_PARTS = re.compile(
    r"(?P<author>.+?) \((?P<year>\d{4})\)\. (?P<title>.+)\. (?P<journal>[^.]+?) (?P<volume>\d+), (?P<pages>.+?)\."
)
"""How every reference here is written."""


def _bibtex_authors(text: str) -> str:
    """``Holm S, Box GE, et al.`` → ``Holm, S and Box, GE and others``."""
    names = [name.strip() for name in text.split(",")]
    return " and ".join("others" if name.startswith("et al") else ", ".join(name.rsplit(" ", 1)) for name in names)


def _bibtex_text(text: str) -> str:
    return text.replace("&", r"\&").replace("%", r"\%")


REFERENCES: Mapping[str, Reference] = {
    "ashburner2000": Reference(
        "Ashburner J, Friston KJ (2000). Voxel-based morphometry: the methods. NeuroImage 11, 805–821.",
        "10.1006/nimg.2000.0582",
    ),
    "ashburner2005": Reference(
        "Ashburner J, Friston KJ (2005). Unified segmentation. NeuroImage 26, 839–851.",
        "10.1016/j.neuroimage.2005.02.018",
    ),
    "ashburner2013": Reference(
        "Ashburner J, Ridgway GR (2013). Symmetric diffeomorphic modeling of longitudinal structural MRI. "
        "Frontiers in Neuroscience 6, 197.",
        "10.3389/fnins.2012.00197",
    ),
    "basser1994": Reference(
        "Basser PJ, Mattiello J, LeBihan D (1994). MR diffusion tensor spectroscopy and imaging. "
        "Biophysical Journal 66, 259–267.",
        "10.1016/S0006-3495(94)80775-1",
    ),
    "beheshti2019": Reference(
        "Beheshti I, Nugent S, Potvin O, Duchesne S (2019). Bias-adjustment in neuroimaging-based brain age "
        "frameworks: a robust scheme. NeuroImage: Clinical 24, 102063.",
        "10.1016/j.nicl.2019.102063",
    ),
    "draganski2011": Reference(
        "Draganski B, Ashburner J, Hutton C, et al. (2011). Regional specificity of MRI contrast parameter changes in "
        "normal ageing revealed by voxel-based quantification (VBQ). NeuroImage 55, 1423–1434.",
        "10.1016/j.neuroimage.2011.01.052",
    ),
    "fonov2011": Reference(
        "Fonov V, Evans AC, Botteron K, et al. (2011). Unbiased average age-appropriate atlases for pediatric studies. "
        "NeuroImage 54, 313–327.",
        "10.1016/j.neuroimage.2010.07.033",
    ),
    "friston1994": Reference(
        "Friston KJ, Worsley KJ, Frackowiak RSJ, Mazziotta JC, Evans AC (1994). Assessing the significance of focal "
        "activations using their spatial extent. Human Brain Mapping 1, 210–220.",
        "10.1002/hbm.460010306",
    ),
    "gorgolewski2016": Reference(
        "Gorgolewski KJ, Auer T, Calhoun VD, et al. (2016). The brain imaging data structure, a format for organizing "
        "and describing outputs of neuroimaging experiments. Scientific Data 3, 160044.",
        "10.1038/sdata.2016.44",
    ),
    "harris2020": Reference(
        "Harris CR, Millman KJ, van der Walt SJ, et al. (2020). Array programming with NumPy. Nature 585, 357–362.",
        "10.1038/s41586-020-2649-2",
    ),
    "heathcote2000": Reference(
        "Heathcote A, Brown S, Mewhort DJK (2000). The power law repealed: the case for an exponential law of "
        "practice. "
        "Psychonomic Bulletin & Review 7, 185–207.",
        "10.3758/BF03212979",
    ),
    "helms2008": Reference(
        "Helms G, Dathe H, Kallenberg K, Dechent P (2008). High-resolution maps of magnetization transfer with "
        "inherent "
        "correction for RF inhomogeneity and T1 relaxation obtained from 3D FLASH MRI. "
        "Magnetic Resonance in Medicine 60, 1396–1407.",
        "10.1002/mrm.21732",
    ),
    "helms2008t1": Reference(
        "Helms G, Dathe H, Dechent P (2008). Quantitative FLASH MRI at 3T using a rational approximation of the Ernst "
        "equation. Magnetic Resonance in Medicine 59, 667–672.",
        "10.1002/mrm.21542",
    ),
    "holm1979": Reference(
        "Holm S (1979). A simple sequentially rejective multiple test procedure. "
        "Scandinavian Journal of Statistics 6, 65–70."
    ),
    "johnson2007": Reference(
        "Johnson WE, Li C, Rabinovic A (2007). Adjusting batch effects in microarray expression data using empirical "
        "Bayes methods. Biostatistics 8, 118–127.",
        "10.1093/biostatistics/kxj037",
    ),
    "kiebel1999": Reference(
        "Kiebel SJ, Poline JB, Friston KJ, Holmes AP, Worsley KJ (1999). Robust smoothness estimation in statistical "
        "parametric maps using standardized residuals from the general linear model. NeuroImage 10, 756–766.",
        "10.1006/nimg.1999.0508",
    ),
    "abdulrahman2007": Reference(
        "Abdul-Rahman HS, Gdeisat MA, Burton DR, Lalor MJ, Lilley F, Moore CJ (2007). Fast and robust three-"
        "dimensional best path phase unwrapping algorithm. Applied Optics 46, 6623–6635.",
        "10.1364/AO.46.006623",
    ),
    "avants2004": Reference(
        "Avants B, Gee JC (2004). Geodesic estimation for large deformation anatomical shape averaging and "
        "interpolation. NeuroImage 23, S139–S150.",
        "10.1016/j.neuroimage.2004.07.010",
    ),
    "brett2001": Reference(
        "Brett M, Leff AP, Rorden C, Ashburner J (2001). Spatial normalization of brain images with focal lesions "
        "using cost function masking. NeuroImage 14, 486–500.",
        "10.1006/nimg.2001.0845",
    ),
    "fisch2024": Reference(
        "Fisch L, Zumdick S, Barkhau C, et al. (2024). deepbet: Fast brain extraction of T1-weighted MRI using "
        "convolutional neural networks. Computers in Biology and Medicine 179, 108845.",
        "10.1016/j.compbiomed.2024.108845",
    ),
    "shattuck2001": Reference(
        "Shattuck DW, Sandor-Leahy SR, Schaper KA, Rottenberg DA, Leahy RM (2001). Magnetic resonance image tissue "
        "classification using a partial volume model. NeuroImage 13, 856–876.",
        "10.1006/nimg.2000.0730",
    ),
    "smith2002": Reference(
        "Smith SM (2002). Fast robust automated brain extraction. Human Brain Mapping 17, 143–155.",
        "10.1002/hbm.10062",
    ),
    "avants2008": Reference(
        "Avants BB, Epstein CL, Grossman M, et al. (2008). Symmetric diffeomorphic image registration with "
        "cross-correlation: evaluating automated labeling of elderly and neurodegenerative brain. "
        "Medical Image Analysis 12, 26–41.",
        "10.1016/j.media.2007.06.004",
    ),
    "andersson2015": Reference(
        "Andersson JLR, Sotiropoulos SN (2015). Non-parametric representation and prediction of single- and "
        "multi-shell diffusion-weighted MRI data using Gaussian processes. NeuroImage 122, 166–176.",
        "10.1016/j.neuroimage.2015.07.067",
    ),
    "andersson2016": Reference(
        "Andersson JLR, Sotiropoulos SN (2016). An integrated approach to correction for off-resonance effects "
        "and subject movement in diffusion MR imaging. NeuroImage 125, 1063–1078.",
        "10.1016/j.neuroimage.2015.10.019",
    ),
    "andersson2016outliers": Reference(
        "Andersson JLR, Graham MS, Zsoldos E, Sotiropoulos SN (2016). Incorporating outlier detection and "
        "replacement into a non-parametric framework for movement and distortion correction of diffusion MR "
        "images. NeuroImage 141, 556–572.",
        "10.1016/j.neuroimage.2016.06.058",
    ),
    "hoy2014": Reference(
        "Hoy AR, Koay CG, Kecskemeti SR, Alexander AL (2014). Optimization of a free water elimination two-"
        "compartment model for diffusion tensor imaging. NeuroImage 103, 323–333.",
        "10.1016/j.neuroimage.2014.09.053",
    ),
    "ledoit2004": Reference(
        "Ledoit O, Wolf M (2004). A well-conditioned estimator for large-dimensional covariance matrices. "
        "Journal of Multivariate Analysis 88, 365–411.",
        "10.1016/S0047-259X(03)00096-4",
    ),
    "ruthotto2012": Reference(
        "Ruthotto L, Kugel H, Olesch J, et al. (2012). Diffeomorphic susceptibility artifact correction of "
        "diffusion-weighted magnetic resonance images. Physics in Medicine and Biology 57, 5715–5731.",
        "10.1088/0031-9155/57/18/5715",
    ),
    "vos2017": Reference(
        "Vos SB, Tax CMW, Luijten PR, Ourselin S, Leemans A, Froeling M (2017). The importance of correcting for "
        "signal drift in diffusion MRI. Magnetic Resonance in Medicine 77, 285–299.",
        "10.1002/mrm.26124",
    ),
    "leemans2009": Reference(
        "Leemans A, Jones DK (2009). The B-matrix must be rotated when correcting for subject motion in DTI data. "
        "Magnetic Resonance in Medicine 61, 1336–1349.",
        "10.1002/mrm.21890",
    ),
    "molder2021": Reference(
        "Mölder F, Jablonski KP, Letcher B, et al. (2021). Sustainable data analysis with Snakemake. "
        "F1000Research 10, 33.",
        "10.12688/f1000research.29032.2",
    ),
    "reuter2012": Reference(
        "Reuter M, Schmansky NJ, Rosas HD, Fischl B (2012). Within-subject template estimation for unbiased "
        "longitudinal "
        "image analysis. NeuroImage 61, 1402–1418.",
        "10.1016/j.neuroimage.2012.02.084",
    ),
    "rouder2009": Reference(
        "Rouder JN, Speckman PL, Sun D, Morey RD, Iverson G (2009). Bayesian t tests for accepting and rejecting the "
        "null hypothesis. Psychonomic Bulletin & Review 16, 225–237.",
        "10.3758/PBR.16.2.225",
    ),
    "schuirmann1987": Reference(
        "Schuirmann DJ (1987). A comparison of the two one-sided tests procedure and the power approach for assessing "
        "the equivalence of average bioavailability. Journal of Pharmacokinetics and Biopharmaceutics 15, 657–680.",
        "10.1007/BF01068419",
    ),
    "tabelow2019": Reference(
        "Tabelow K, Balteau E, Ashburner J, et al. (2019). hMRI – A toolbox for quantitative MRI in neuroscience and "
        "clinical research. NeuroImage 194, 191–210.",
        "10.1016/j.neuroimage.2019.01.029",
    ),
    "tustison2010": Reference(
        "Tustison NJ, Avants BB, Cook PA, et al. (2010). N4ITK: improved N3 bias correction. "
        "IEEE Transactions on Medical Imaging 29, 1310–1320.",
        "10.1109/TMI.2010.2046908",
    ),
    "veraart2013": Reference(
        "Veraart J, Sijbers J, Sunaert S, Leemans A, Jeurissen B (2013). Weighted linear least squares estimation of "
        "diffusion MRI parameters: strengths, limitations, and pitfalls. NeuroImage 81, 335–346.",
        "10.1016/j.neuroimage.2013.05.028",
    ),
    "benjamini1995": Reference(
        "Benjamini Y, Hochberg Y (1995). Controlling the false discovery rate: a practical and powerful approach to "
        "multiple testing. Journal of the Royal Statistical Society B 57, 289–300.",
        "10.1111/j.2517-6161.1995.tb02031.x",
    ),
    "bernalrusiel2013": Reference(
        "Bernal-Rusiel JL, Greve DN, Reuter M, Fischl B, Sabuncu MR (2013). Statistical analysis of longitudinal "
        "neuroimage data with linear mixed effects models. NeuroImage 66, 249–260.",
        "10.1016/j.neuroimage.2012.10.065",
    ),
    "friston2002": Reference(
        "Friston KJ, Penny W, Phillips C, Kiebel S, Hinton G, Ashburner J (2002). Classical and Bayesian inference in "
        "neuroimaging: theory. NeuroImage 16, 465–483.",
        "10.1006/nimg.2002.1090",
    ),
    "guillaume2014": Reference(
        "Guillaume B, Hua X, Thompson PM, Waldorp L, Nichols TE (2014). Fast and accurate modelling of longitudinal "
        "and repeated measures neuroimaging data. NeuroImage 94, 287–302.",
        "10.1016/j.neuroimage.2014.03.029",
    ),
    "guillaume2019": Reference(
        "Guillaume B, Nichols TE, ADNI (2019). Non-parametric inference for longitudinal and repeated-measures "
        "neuroimaging data with the wild bootstrap. NeuroImage 184, 966–976.",
        "10.1016/j.neuroimage.2018.09.069",
    ),
    "hayasaka2004": Reference(
        "Hayasaka S, Phan KL, Liberzon I, Worsley KJ, Nichols TE (2004). Nonstationary cluster-size inference with "
        "random field and permutation methods. NeuroImage 22, 676–687.",
        "10.1016/j.neuroimage.2004.01.041",
    ),
    "lutti2022": Reference(
        "Lutti A, Corbin N, Ashburner J, et al. (2022). Restoring statistical validity in group analyses of "
        "motion-corrupted MRI data. Human Brain Mapping 43, 1973–1983.",
        "10.1002/hbm.25767",
    ),
    "smyth2004": Reference(
        "Smyth GK (2004). Linear models and empirical Bayes methods for assessing differential expression in "
        "microarray experiments. Statistical Applications in Genetics and Molecular Biology 3, 3.",
        "10.2202/1544-6115.1027",
    ),
    "vovk2013": Reference(
        "Vovk V (2013). Conditional validity of inductive conformal predictors. Machine Learning 92, 349–376.",
        "10.1007/s10994-013-5355-6",
    ),
    "winkler2014": Reference(
        "Winkler AM, Ridgway GR, Webster MA, Smith SM, Nichols TE (2014). Permutation inference for the general linear "
        "model. NeuroImage 92, 381–397.",
        "10.1016/j.neuroimage.2014.01.060",
    ),
    "collier2015": Reference(
        "Collier Q, Veraart J, Jeurissen B, den Dekker AJ, Sijbers J (2015). Iterative reweighted linear least squares "
        "for accurate, fast, and robust estimation of diffusion magnetic resonance parameters. "
        "Magnetic Resonance in Medicine 73, 2174–2184.",
        "10.1002/mrm.25351",
    ),
    "gudbjartsson1995": Reference(
        "Gudbjartsson H, Patz S (1995). The Rician distribution of noisy MRI data. "
        "Magnetic Resonance in Medicine 34, 910–914.",
        "10.1002/mrm.1910340618",
    ),
    "kellner2016": Reference(
        "Kellner E, Dhital B, Kiselev VG, Reisert M (2016). Gibbs-ringing artifact removal based on local "
        "subvoxel-shifts. Magnetic Resonance in Medicine 76, 1574–1581.",
        "10.1002/mrm.26054",
    ),
    "jiang2002": Reference(
        "Jiang J, Lahiri P, Wan SM (2002). A unified jackknife theory for empirical best prediction with M-estimation. "
        "The Annals of Statistics 30, 1782–1810.",
        "10.1214/aos/1043351257",
    ),
    "pinheiro1995": Reference(
        "Pinheiro JC, Bates DM (1995). Approximations to the log-likelihood function in the nonlinear mixed-effects "
        "model. Journal of Computational and Graphical Statistics 4, 12–35.",
        "10.1080/10618600.1995.10474663",
    ),
    "preibisch2009": Reference(
        "Preibisch C, Deichmann R (2009). Influence of RF spoiling on the stability and accuracy of T1 mapping based "
        "on spoiled FLASH with varying flip angles. Magnetic Resonance in Medicine 61, 125–135.",
        "10.1002/mrm.21776",
    ),
    "veraart2016": Reference(
        "Veraart J, Novikov DS, Christiaens D, et al. (2016). Denoising of diffusion MRI using random matrix theory. "
        "NeuroImage 142, 394–406.",
        "10.1016/j.neuroimage.2016.08.016",
    ),
    "virtanen2020": Reference(
        "Virtanen P, Gommers R, Oliphant TE, et al. (2020). SciPy 1.0: fundamental algorithms for scientific "
        "computing in "
        "Python. Nature Methods 17, 261–272.",
        "10.1038/s41592-019-0686-2",
    ),
    "weiskopf2014": Reference(
        "Weiskopf N, Callaghan MF, Josephs O, Lutti A, Mohammadi S (2014). Estimating the apparent transverse "
        "relaxation "
        "time (R2*) from images with different contrasts (ESTATICS) reduces motion artifacts. "
        "Frontiers in Neuroscience 8, 278.",
        "10.3389/fnins.2014.00278",
    ),
    "worsley1996": Reference(
        "Worsley KJ, Marrett S, Neelin P, et al. (1996). A unified statistical approach for determining significant "
        "signals in images of cerebral activation. Human Brain Mapping 4, 58–73.",
        "10.1002/(SICI)1097-0193(1996)4:1<58::AID-HBM4>3.0.CO;2-O",
    ),
    "yushkevich2016": Reference(
        "Yushkevich PA, Pluta J, Wang H, et al. (2016). Fast automatic segmentation of hippocampal subfields "
        "and medial "
        "temporal lobe subregions in 3 Tesla and 7 Tesla T2-weighted MRI. Alzheimer's & Dementia 12, P126–P127.",
        "10.1016/j.jalz.2016.06.205",
    ),
}
