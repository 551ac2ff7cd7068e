"""What is simulated: everything around the operator, each habit of the real thing a thing that a seed may draw."""
