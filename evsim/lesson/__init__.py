"""The lesson: one page for a class, which runs the bundled model in a browser and shows each spike and its cost."""

from evsim.lesson.page import page, write

__all__ = ["page", "write"]
