"""Anatomy of one scan: brain mask, bias field, grey and white matter and CSF, intracranial volume."""
