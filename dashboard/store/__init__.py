"""The page Store: people, classes, lengths, missing joints, quarantine."""
