"""The real engine in a world that is simulated: its API server, kubelet, people and clock follow a seed."""
