"""The notebook side: `%%compute`, its panel, and what a cell means on a worker."""
