"""Networks beside each other: what each costs, what papers say of them, and a page of it all."""
