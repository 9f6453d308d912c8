"""The scripts people launch, and the few modules they share."""
