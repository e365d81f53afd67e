"""Networks: torch modules, and nothing that runs them."""
