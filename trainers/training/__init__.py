"""Training and scoring of one model; knows no Ray."""
