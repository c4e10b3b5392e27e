"""Text and images to covariates: frozen encoders whose columns a formula takes as ``emb_*``.

The encoders belong to other libraries, which are imported when they are used: sentence-transformers and wordllama for
texts, torchvision and timm for images, open_clip for both. What deepdml adds is a frame with the index of the data, a
cache on disk by content, clear refusals, and a card that says which model made the numbers.
"""

from deepdml.embed.cards import Card, card, join
from deepdml.embed.clip import multimodal
from deepdml.embed.images import image
from deepdml.embed.texts import text

__all__ = ["Card", "card", "image", "join", "multimodal", "text"]
