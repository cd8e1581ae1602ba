"""Regional brain age: from a table of parcels to how old each network of each hemisphere looks."""
