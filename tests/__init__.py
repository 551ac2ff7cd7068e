"""The project's tests, and the real cluster they run on."""
