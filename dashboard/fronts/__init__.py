"""The pages Overview and Trade-off: a student's accuracy against its size and cost."""
