"""Parcels on nilearn's fsaverage5 mesh: which labels touch, and which network each lies in.

The mesh is nilearn's (BSD); labels of parcels and of networks are the user's, as FreeSurfer annotations or GIFTI, so
nothing has to be downloaded or redistributed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.parcels import folded
from plastimap.brainage.problems import BrainageProblem
from plastimap.writing import PathLike

if TYPE_CHECKING:
    import pandas as pd

Region = tuple[str, str]

SIDES = {"L": "left", "R": "right"}
VERTICES = 10242
UNLABELLED = ("unknown", "medial_wall", "medialwall", "???", "freesurfer_defined_medial_wall", "background")


def fsaverage5_faces(hemisphere: str) -> NDArray[np.int64]:
    """Triangles of the pial mesh of a hemisphere (L, R), shape (20480, 3)."""
    return fsaverage5_mesh(hemisphere, "pial")[1]


def fsaverage5_mesh(hemisphere: str, kind: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Coordinates (mm) and triangles of nilearn's mesh, of one kind (``pial``, ``infl``)."""
    import nibabel as nib
    import nilearn.datasets

    folder = Path(nilearn.datasets.__file__).parent / "data" / "fsaverage5"
    mesh = nib.load(folder / f"{kind}_{SIDES[hemisphere]}.gii.gz")  # type: ignore[attr-defined]
    coordinates, faces = (array.data for array in mesh.darrays[:2])  # type: ignore[attr-defined]
    return np.asarray(coordinates, dtype=np.float64), np.asarray(faces, dtype=np.int64)


def read_labels(file: PathLike) -> tuple[NDArray[np.int64], list[str]]:
    """Label of every vertex (−1 = none) and the names, from ``.annot`` or GIFTI.

    Raises
    ------
    BrainageProblem
        If the file cannot be read, or is not on fsaverage5.
    """
    import nibabel as nib

    path = Path(file)
    try:
        if path.suffix == ".annot":
            marks, _, raw = nib.freesurfer.read_annot(path)  # type: ignore[attr-defined]
            names = [one.decode() for one in raw]
        else:
            image = nib.load(path)  # type: ignore[attr-defined]
            table = image.labeltable.get_labels_as_dict()  # type: ignore[attr-defined]
            keys = sorted(table)
            names = [str(table[key]) for key in keys]
            marks = np.searchsorted(keys, image.agg_data())  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError, IndexError, nib.filebasedimages.ImageFileError) as error:  # type: ignore[attr-defined]
        raise BrainageProblem(f"{path}: no labels that can be read ({error})") from error
    if len(marks) < VERTICES:
        raise BrainageProblem(f"{path}: {len(marks)} vertices; fsaverage5 has {VERTICES}")
    # The vertices of fsaverage5 are the first ones of fsaverage.
    inside = np.asarray(marks[:VERTICES], dtype=np.int64)
    outside = [number for number, name in enumerate(names) if name.lower() in UNLABELLED]
    return np.where(np.isin(inside, outside), -1, inside), names


def region_vertices(
    files: Mapping[str, PathLike], parcels: Mapping[str, Sequence[str]], regions: Sequence[Region]
) -> dict[str, NDArray[np.int64]]:
    """Number of the region of every vertex, per hemisphere; −1 = none.

    Parameters
    ----------
    files : mapping of str to path-like
        ``L``, ``R`` → labels on fsaverage5, named as the parcels are without ``lh_`` and ``rh_``.
    parcels : mapping
        Of the model's card: ``names``, ``hemispheres``, ``networks``.
    regions : sequence of (network, hemisphere)
    """
    place = {region: number for number, region in enumerate(regions)}
    columns = zip(parcels["names"], parcels["networks"], parcels["hemispheres"], strict=True)
    region_of = {folded(name): place.get((network, side), -1) for name, network, side in columns}
    found: dict[str, NDArray[np.int64]] = {}
    for side, file in files.items():
        marks, names = read_labels(file)
        numbers = np.array([region_of.get(folded(f"{side.lower()}h_{name}"), -1) for name in names] + [-1])
        found[side] = numbers[marks]
    if all((marks < 0).all() for marks in found.values()):
        raise BrainageProblem("no label on the surface has the name of a parcel of the model; give the labels of those")
    return found


def vertex_values(
    values: Mapping[Region, float], vertices: Mapping[str, NDArray[np.int64]], regions: Sequence[Region]
) -> dict[str, NDArray[np.float32]]:
    """Value of every vertex, per hemisphere; NaN where there is none."""
    numbers = np.array([values.get(region, np.nan) for region in regions] + [np.nan], dtype=np.float32)
    return {side: numbers[marks] for side, marks in vertices.items()}


def parcel_tables(
    parcels: dict[str, PathLike], networks: dict[str, PathLike]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, NDArray[np.int64]]]:
    """Tables of parcels and edges from labels on fsaverage5.

    Parameters
    ----------
    parcels, networks : dict
        ``L`` and ``R`` → file with labels.

    Returns
    -------
    nodes : DataFrame
        ``name``, ``hemisphere``, ``network`` (of most of its vertices), ``share`` (of those vertices).
    edges : DataFrame
        ``one``, ``other``, ``kind``: ``surface`` = they touch on the mesh, ``homotopic`` = the same on both sides.
    vertices : dict
        ``L`` and ``R`` → row of `nodes` of every vertex; −1 = none.
    """
    import pandas as pd

    nodes, edges, vertices = list[dict[str, object]](), list[dict[str, str]](), dict[str, NDArray[np.int64]]()
    for side in SIDES:
        marks, names = read_labels(parcels[side])
        network, network_names = read_labels(networks[side])
        row = np.full(len(names), -1, dtype=np.int64)
        for number in np.unique(marks[marks >= 0]):
            found = Counter(network[(marks == number) & (network >= 0)].tolist()).most_common(1)
            if found:
                row[number] = len(nodes)
                share = found[0][1] / int((marks == number).sum())
                nodes.append({"name": f"{side.lower()}h_{names[number]}", "hemisphere": side,
                              "network": network_names[found[0][0]], "share": round(share, 3)})  # fmt: skip
        vertices[side] = np.where(marks >= 0, row[marks], -1)
        edges += _edges(vertices[side], fsaverage5_faces(side), nodes)
    table = pd.DataFrame(nodes)
    plain = {str(name)[3:]: name for name in table.loc[table["hemisphere"] == "L", "name"]}
    twins = [(plain[name[3:]], name) for name in table.loc[table["hemisphere"] == "R", "name"] if name[3:] in plain]
    edges += [{"one": one, "other": other, "kind": "homotopic"} for one, other in twins]
    return table, pd.DataFrame(edges), vertices


def _edges(marks: NDArray[np.int64], faces: NDArray[np.int64], nodes: list[dict[str, object]]) -> list[dict[str, str]]:
    pairs = marks[np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]])]
    pairs = np.unique(np.sort(pairs[(pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])], axis=1), axis=0)
    return [
        {"one": str(nodes[a]["name"]), "other": str(nodes[b]["name"]), "kind": "surface"} for a, b in pairs.tolist()
    ]
