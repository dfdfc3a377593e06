"""Plain torch networks, one file each; `facette.catalogue` says how each is fed and read."""
