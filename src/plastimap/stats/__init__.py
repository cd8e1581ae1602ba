"""Statistics: change over time per person, group models, cluster inference with family-wise error control."""
