"""The page Student: one model with its scores, people, recordings and files."""
