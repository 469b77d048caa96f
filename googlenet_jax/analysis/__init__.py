"""What the network costs, and how that compares with what the paper prints; nothing is computed."""
