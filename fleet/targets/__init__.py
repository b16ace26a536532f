"""What each product can carry: one module a product."""
