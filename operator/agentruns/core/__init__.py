"""What decides. No I/O, no clock, no randomness: everything a decision needs comes in as an argument."""
