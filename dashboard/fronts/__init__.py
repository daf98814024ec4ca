"""Overview and Trade-off: accuracy against what a student takes."""
