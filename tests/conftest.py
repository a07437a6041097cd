"""What holds for all tests."""

from hypothesis import settings

# How long an example takes depends on the machine's other work, which says nothing about the product.
settings.register_profile("pilothouse", deadline=None)
settings.load_profile("pilothouse")
