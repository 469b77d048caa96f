"""Programs compiled for machines that are not at hand, and their compilers' predictions."""
