"""The `clef` command. Each of its commands is a module of this package, imported when it is called."""
