"""What goes on around a run: who works in an output folder, what is done, what is broken, what can be removed."""
