"""The garbage collector pauses while graphs are made, and goes on afterwards whatever happens."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import numpy as np
import pytest

import tgc
from tgc.collector import collector_paused


def test_it_goes_on_after_the_outermost_block() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_made_inside_is_collected() -> None:
    class Node:
        def __init__(self) -> None:
            self.itself = self

    with collector_paused():
        gone = weakref.ref(Node())
        assert gone() is not None
    assert gone() is None


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), collector_paused():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_what_the_user_stopped_stays_so() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_blocks_of_two_threads_overlap() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collector_paused():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with collector_paused():
        pass
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_compilation_pauses_it_and_calls_do_not() -> None:
    seen = []

    def f(x: np.ndarray) -> np.ndarray:
        seen.append(gc.isenabled())
        return x + 1

    jitted = tgc.jit(f)
    np.testing.assert_array_equal(jitted(np.zeros(3, np.float32)), np.ones(3))
    assert seen == [False]
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_inside_collects() -> None:
    with collector_paused():
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
