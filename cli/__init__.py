"""What a person types: parse, call one function of evsim, print. One file per group of commands."""
