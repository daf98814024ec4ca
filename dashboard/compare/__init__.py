"""Compare: models side by side, and work folders."""
