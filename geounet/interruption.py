"""Steps that neither Ctrl-C nor a scheduler's SIGTERM may come between."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Put SIGINT and SIGTERM off until the end, and then do what they ask for.

    Python runs what a signal asks for between any two steps of the main thread, so also between
    making a file and the `try` that would remove it. Other threads are never interrupted. A signal
    that ends the process without Python (`SIG_DFL`) is not put off.

    Yields:
        What makes a context in which they come through at once, as long work wants it:

            with uninterrupted() as interruptible:
                make()
                try:
                    with interruptible():
                        yield
                finally:
                    unmake()
    """
    if threading.current_thread() is not threading.main_thread():
        yield nullcontext
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    usual = {number: handler for number, handler in usual.items() if callable(handler)}
    waiting: list[int] = []

    def put_off() -> None:
        for number in usual:
            signal.signal(number, lambda came, _: waiting.append(came))

    def let_through() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)
        while waiting:
            came = waiting.pop(0)
            handler = usual[signal.Signals(came)]
            assert callable(handler)
            handler(came, None)

    @contextmanager
    def interruptible() -> Iterator[None]:
        try:
            let_through()
            yield
        finally:
            put_off()

    try:
        put_off()
        yield interruptible
    finally:
        let_through()
