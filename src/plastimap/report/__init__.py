"""Figures and pages of the report: tables and maps in, HTML and pictures out."""
