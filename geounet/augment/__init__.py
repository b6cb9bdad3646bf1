"""Making few chips go further: a coast may lie any way round, under other light, half in shadow.

What happens to a chip depends on the seed, the step and the chip's place in it, and on nothing that
came before.
"""

from geounet.augment.augmenter import Augmenter
from geounet.augment.chance import derived_seed, send
from geounet.augment.light import warn_of_no_light

__all__ = ["Augmenter", "derived_seed", "send", "warn_of_no_light"]
