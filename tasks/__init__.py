"""Prefect tasks: hand a shard to a worker process, take its receipt, publish. No logic."""
