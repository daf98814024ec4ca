"""Training and scoring of one model; uses no Ray. docs/line.md leads from the teacher's stored outputs to a loss."""
