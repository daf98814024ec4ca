"""Reading of work folders, with checks."""
