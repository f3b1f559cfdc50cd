"""The subcommands of `soundstage`: each module adds its own to the parser and runs them."""
