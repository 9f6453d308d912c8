"""Cards of models and data sets, rendered from measured results and never typed, and what sends them to the Hub."""
