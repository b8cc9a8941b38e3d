"""The ensemble: the bundle (the model's contract), the stack, the heatmaps, the Predictor."""
