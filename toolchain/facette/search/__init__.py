"""Searching for the best network within a budget: what may be chosen, what is asked for, the shared study, the Pareto front."""
