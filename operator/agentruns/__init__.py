"""The AgentRun operator: it runs AI agents as Kubernetes resources, each tool step in its own sandbox pod.

All state is in the status of the resources; the cluster is the engine. `handlers` turns watch events into a queue of
runs, `reconciler` takes one run through observe, decide, record and perform, and `core` holds everything that decides.
"""
