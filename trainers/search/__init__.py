"""The search: Ray Tune and Optuna round one trial."""
