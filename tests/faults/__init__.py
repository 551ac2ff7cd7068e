"""The operator in a test build of its entry point, which ends, stops, or loses an answer at a named API call."""
