"""Sampling whole trajectories: the raw material of Q-labels."""
