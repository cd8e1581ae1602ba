"""Template, target space, smoothing and regions."""
