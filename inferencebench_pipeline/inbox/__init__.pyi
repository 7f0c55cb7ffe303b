from .deliveries import Delivery as Delivery
from .deliveries import Inbox as Inbox
from .deliveries import deliver as deliver
from .deliveries import delivered_since as delivered_since
