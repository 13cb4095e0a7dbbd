"""Images from captions by a trained model: loading, generating, attention maps, interpolations."""
