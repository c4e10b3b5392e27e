"""Figures of Results: one file per kind, each a function of plain arrays or frames that draws on one Axes."""
