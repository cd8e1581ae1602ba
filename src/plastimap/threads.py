"""One thread where several would change results."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def one_itk_thread() -> Generator[None]:
    """Let ITK use one thread inside.

    A filter's own number does not reach the filters inside it; those of N4 sum in another order with another number,
    so that a result would depend on how many processors there are.
    """
    import SimpleITK

    process = SimpleITK.ProcessObject
    usual = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(usual)
