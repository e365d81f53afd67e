"""Pictures from models: the clients of the engine that draw."""
