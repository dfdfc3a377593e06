"""Model → Model. Passes know neither each other nor the exporters; `facette.compile` alone knows their order."""
