"""The demonstration's own modules. They use what a checkpoint carries to the Hub, and nothing else of the project."""
