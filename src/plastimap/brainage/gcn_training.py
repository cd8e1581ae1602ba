"""Training of the graph network: the one place that needs PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.gcn import BATCH, DECAY, INPUT_NOISE, MEMBERS, RATE, WIDTH, Layout, forward
from plastimap.brainage.problems import BrainageProblem

Array = NDArray[np.float64]


def trained_weights(
    layout: Layout, data: Array, covariates: Array, target: Array, fold: NDArray[np.intp], *, seed: int, epochs: int
) -> dict[str, NDArray[np.float32]]:
    """Train all members together.

    Parameters
    ----------
    layout : Layout
    data : ndarray, shape (n, b, m)
    covariates : ndarray, shape (n, q)
    target : ndarray, shape (n,)
        Standardised log age.
    fold : ndarray of int, shape (n,)
        Member that does not see a person.
    seed, epochs : int

    Raises
    ------
    BrainageProblem
        If PyTorch is not installed.
    """
    torch = _torch()
    generator = torch.Generator().manual_seed(seed)
    given = {"x": data, "c": covariates, "y": target, "a": layout.adjacency, "p": layout.pooling}
    tensor = {name: torch.tensor(one, dtype=torch.float32) for name, one in given.items()}
    seen = torch.tensor(fold[None] != np.arange(MEMBERS)[:, None], dtype=torch.float32)
    weights = _start(torch, layout, covariates.shape[1], generator)
    optimiser = torch.optim.AdamW(weights.values(), lr=RATE, weight_decay=DECAY)
    steps = -(-len(target) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=RATE, total_steps=epochs * steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(target), generator=generator).chunk(steps):
            noisy = tensor["x"][rows]
            noisy = noisy + INPUT_NOISE * torch.randn(noisy.shape, generator=generator)
            mean, log_variance = forward(torch, weights, tensor["a"], tensor["p"], noisy, tensor["c"][rows])
            loss = _loss(mean, log_variance, tensor["y"][rows], seen[:, rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return {name: one.detach().numpy().astype(np.float32) for name, one in weights.items()}


def _loss(mean: Any, log_variance: Any, target: Any, seen: Any) -> Any:
    """Squared error for the mean; for the variance the likelihood at that mean, so that noise does not blunt it."""
    square = (mean - target[None, :, None]) ** 2
    likelihood = 0.5 * (log_variance + square.detach() * (-log_variance).exp())
    return ((square + likelihood) * seen[..., None]).sum(dim=(0, 1)).div(seen.sum()).sum()


def _start(torch: Any, layout: Layout, covariates: int, generator: Any) -> dict[str, Any]:
    """Random weights of every member."""
    (b, m), r, d, k = layout.slots.shape, len(layout.pooling), WIDTH, MEMBERS
    read = m if b > 1 else max(1, int(layout.pooling.sum() / r))

    def drawn(*shape: int, scale: float) -> Any:
        return (torch.randn(shape, generator=generator) * scale).requires_grad_()

    pool = (k, b, m, d) if b > 1 else (k, r, m, d)
    return {
        "nodes": drawn(k, b, m, d, scale=1.0),
        "nodes_bias": drawn(k, b, m, d, scale=0.1),
        "hidden": drawn(k, d, d, scale=d**-0.5),
        "hidden_bias": drawn(k, d, scale=0.1),
        "pool": drawn(*pool, scale=read**-0.5),
        "covariates": drawn(k, r, covariates, d, scale=0.1),
        "head": drawn(k, r, d, 2, scale=0.1),
        "brain": drawn(k, r, d, 2, scale=0.1 * r**-0.5),
        "bias": drawn(k, r + 1, 2, scale=0.01),
    }


def _torch() -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        why = "the graph network is trained with PyTorch, which is not installed"
        raise BrainageProblem(f"{why}; pip install 'plastimap[gcn]', or method: gaussian_process") from error
    return torch
