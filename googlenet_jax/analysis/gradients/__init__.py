"""How the gradient flows through a network in its first steps, and where heads would help."""
