"""One file per flow, readable as prose, and the command line.

Nothing here imports Prefect before `flows.settings.apply` has set its environment.
"""
