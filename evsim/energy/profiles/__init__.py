"""Hardware profiles: TOML files, one per technology or chip."""
