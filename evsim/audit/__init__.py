"""Questions asked of runs: is it spike-driven, how do two models compare, what drives energy."""
