"""Train the teacher by Ray Train round the training loop, and store its outputs."""
