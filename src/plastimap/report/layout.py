"""A table for a paper: numbers for the TSV, words for HTML and LaTeX."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PaperTable:
    """A table as it is printed.

    Attributes
    ----------
    name : str
        File name without ending: ``table_2``, ``table_S3``.
    title : str
        ``Table 2 | …``.
    data : DataFrame
        Plain numbers: the TSV.
    shown : DataFrame
        What is printed, as text; same rows.
    spans : tuple of (str, int)
        Headings above several columns, with how many; empty = none.
    note : str
        Below the table.
    """

    name: str
    title: str
    data: pd.DataFrame
    shown: pd.DataFrame
    spans: tuple[tuple[str, int], ...] = ()
    note: str = ""

    def files(self) -> dict[str, bytes]:
        """The table as ``.tsv``, ``.html`` and ``.tex``."""
        texts = {"tsv": tsv(self.data), "html": self.html, "tex": self.latex}
        return {f"{self.name}.{ending}": text.encode() for ending, text in texts.items()}

    @property
    def html(self) -> str:
        """A page of its own."""
        from plastimap.report.pages import render

        return render("paper_table.html.j2", folder="paper", table=self, rows=self.shown.to_numpy().tolist())

    @property
    def latex(self) -> str:
        """A ``table*`` with booktabs rules; needs the packages booktabs and graphicx."""
        columns = "l" * len(self.shown.columns)
        rows = [" & ".join(latex_text(cell) for cell in row) + r" \\" for row in self.shown.to_numpy().tolist()]
        heads = " & ".join(latex_text(name) for name in self.shown.columns) + r" \\"
        spans = " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{latex_text(text)}}}" for text, n in self.spans)
        lines = [
            r"\begin{table*}", rf"\caption{{{latex_text(self.title)}}}", rf"\label{{tab:{self.name}}}",
            r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
            *([spans + r" \\"] if spans else []), heads, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}}",
            *([rf"\par\footnotesize {latex_text(self.note)}"] if self.note else []), r"\end{table*}",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def tsv(frame: pd.DataFrame) -> str:
    """Tab-separated text with ``n/a`` for what is missing."""
    stream = io.StringIO()
    frame.to_csv(stream, sep="\t", index=False, na_rep="n/a", lineterminator="\n", float_format="%.8g")
    return stream.getvalue()


_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "−": r"$-$",
    "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\rightarrow$", "–": "--", "α": r"$\alpha$",
    "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "µ": r"$\mu$", "°": r"$^\circ$", "·": r"$\cdot$",
    "₀": r"$_0$", "₁": r"$_1$", "₂": r"$_2$", "⁻": r"$^-$", "¹": r"$^1$", "²": r"$^2$", "³": r"$^3$", "⁴": r"$^4$",
    "⁵": r"$^5$", "⁶": r"$^6$", "σ": r"$\sigma$", "Δ": r"$\Delta$", "∞": r"$\infty$", "√": r"$\surd$", "½": r"$1/2$",
}  # fmt: skip


def latex_text(text: Any) -> str:
    """Any text as LaTeX that prints it."""
    return "".join(_LATEX.get(letter, letter) for letter in str(text))


def mean_and_sd(mean: float, sd: float) -> str:
    """``0.462 ± 0.047``: both with as many decimals as give the SD two digits, at least one; – where there is none."""
    if not math.isfinite(mean):
        return "–"
    if not math.isfinite(sd):
        return f"{mean:.3g}"
    if sd == 0:
        return f"{mean:.4g} ± 0"
    spread = max(abs(sd), abs(mean) * 1e-3)
    power = math.floor(math.log10(max(abs(mean), abs(sd))))
    if power < -3 or power > 5:
        scale = 10.0**power
        return f"({mean / scale:.2f} ± {sd / scale:.2f}) × 10{superscript(power)}"
    decimals = max(1, 1 - math.floor(math.log10(spread)))
    return f"{mean:.{decimals}f} ± {sd:.{decimals}f}"


def superscript(number: int) -> str:
    """``-4`` → ``⁻⁴``."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
