"""What needs neither a cluster nor an event loop."""
