"""The operator is killed at every point between two API calls; effects are counted outside of the cluster."""
