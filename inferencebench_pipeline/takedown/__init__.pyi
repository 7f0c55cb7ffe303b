from .takedown import take_down as take_down
