"""Multi-parameter mapping: from multi-echo images and B1+ to R1, R2*, MTsat and signal amplitude."""
