"""PlastiMap: where a brain changed over time, from quantitative MRI."""

from plastimap.caches import keep_kernels_private

__version__ = "0.1.0"

keep_kernels_private()
