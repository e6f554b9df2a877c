"""Methods that look at activations: a model on its way through a text, decoder layer by decoder layer."""
