"""How far models have gone from their original on a text: `core.evaluation.run.evaluate`."""
