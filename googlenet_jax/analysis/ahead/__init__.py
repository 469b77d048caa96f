"""Programs compiled for machines that are not here, and what their compilers predict of them."""
