"""Pictures from models without words."""
