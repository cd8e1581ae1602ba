"""PlastiMap: where a brain changed over time, from quantitative MRI."""

__version__ = "0.1.0"
