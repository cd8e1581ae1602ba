"""What a study has, what a run of it makes, and what each rule gets: asked by the Snakefile, never the other way."""
