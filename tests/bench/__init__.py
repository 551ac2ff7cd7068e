"""How fast the operator is, beside what the cluster itself can do in the same run. `make bench` prints the figures."""
