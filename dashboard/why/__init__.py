"""Why: what decides, by the settings of the trials."""
