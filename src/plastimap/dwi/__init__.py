"""Diffusion MRI: from a raw series to FA, MD, AD and RD."""
