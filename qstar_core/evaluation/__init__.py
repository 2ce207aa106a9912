"""Scored results of searches: metrics with intervals, comparisons at equal budget, the reports."""
