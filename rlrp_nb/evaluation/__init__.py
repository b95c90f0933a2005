"""How far a heatmap can be trusted: measures with formula and source."""
